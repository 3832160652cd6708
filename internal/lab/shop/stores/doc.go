// Package stores is the platform that the shop runs on, and how its clients
// reach it: with libraries of their own and none of drctl's drivers.
//
// It promises that no statement waits for a lock for longer than two seconds,
// that a write is never repeated behind the caller's back, and that Commit says between
// which two places of the server's log the commit lies, by the server's own word.
// It never decides what an outcome means.
package stores
