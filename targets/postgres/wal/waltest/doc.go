// Package waltest reads the log files that a server keeps in its data directory, for tests.
//
// It promises that what it cannot read fails the test: a test that finds no log proves
// nothing. It never looks at a log that has more than one timeline.
package waltest
