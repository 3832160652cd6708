// Package outside runs what a recovery plan takes from the platform itself: programs and
// calls.
//
// It promises that a program is one that nobody else could have put there, that it runs
// without a shell, and that only an exit status of 0, or a status of 200 to 299, is success.
package outside
