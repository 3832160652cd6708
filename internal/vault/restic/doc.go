// Package restic runs the restic program (0.19.1 or later) on one repository
// and turns its JSON messages into values, progress and error codes.
//
// It promises that passwords and keys reach the child in its environment only,
// that the child dies with the context and with this process, that a stream
// whose reader fails leaves no snapshot, and that an incomplete backup is an
// error unless every file missing from it had vanished and the caller expected
// that. Calls that only read take no lock and write nothing. It never makes a
// repository in place: see Seed.
package restic
