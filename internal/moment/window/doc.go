// Package window tells from when to when moments of a group can be had from a vault, and where
// there are holes, and why.
//
// It promises that what it costs follows the names of observations in the time that is
// asked for, and never the log that is kept; that a hole is never called open; and that each has
// a reason that a person understands.
//
// It reads no log: between two observations there may be no instant that is quiet on all shards. Package
// moment tells of one.
package window
