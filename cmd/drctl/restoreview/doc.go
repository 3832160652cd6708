// Package restoreview prints plans of restores, what came of them and what checks found.
//
// It promises that the exit status of a restore is 0 only when every step was done and no
// check failed. It reads nothing and decides nothing else.
package restoreview
