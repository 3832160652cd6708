// Package retry tries again what may succeed the next time, and pauses between.
//
// It promises that a Policy says all there is to say: which errors are tried
// again (by default those whose code fail.Retryable names), how long the waits
// are (doubling, jittered, bounded), and when it ends (after a time, after a
// number of tries, and always when the context ends, at once). What is given up
// ends with the last error, and with how often and how long it was tried.
//
// It never tries again what has succeeded or what a Policy does not name, never
// hides the last error behind the end of a context, and never logs.
package retry
