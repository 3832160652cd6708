// Package postmaster knows the server process of a data directory: which it is, how
// it is stopped cleanly, and how it is started as it was started before.
//
// It promises that nothing is signalled but the very server of the directory, known
// by its lock file, its working directory and its start time together; that a stop
// is a clean one and is reported only once the process is gone; and that a server is
// started as the owner of its directory.
//
// It never kills a server that somebody may still need, asks no server over SQL, and
// reads nothing of its data.
package postmaster
