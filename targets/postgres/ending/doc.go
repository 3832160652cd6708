// Package ending asks a new primary what is prepared in it, ends that as it is told, and reads the log
// that it keeps of the timeline which it has left.
//
// It promises that log which the server no longer has is an error and never the end. It decides nothing.
package ending
