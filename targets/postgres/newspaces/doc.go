// Package newspaces finds the tablespaces that a log makes where it is replayed.
//
// It promises that
//   - what it returns is all that the log makes up to where it can be read, which is where a replay
//     ends, too;
//   - a log that does not say, because it cannot be read for another reason, is an error and never one
//     that makes none.
//
// It changes nothing, and looks at no place that a tablespace names.
package newspaces
