// Package answer has the values that drctl prints with --json and that no other
// package has a use for, and the list of what every command answers, from which
// the documentation of the JSON is made.
//
// It promises that the list names every command that answers with JSON. It
// computes and describes, and neither prints nor reads anything.
package answer
