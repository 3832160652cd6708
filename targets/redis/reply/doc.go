// Package reply says what an error of a Redis server, or of the way to it, means
// and what to do about it. It is the one place that reads such errors.
//
// It promises a code for every error and never changes the server's own words.
package reply
