// Package scan finds the places in a Redis replication stream where it can be cut.
//
// It promises that such a place is behind a whole command and not inside a
// transaction, however the stream is cut into writes, and that bytes which are no
// replication stream are an error that names the place. It keeps no bytes and does no I/O.
package scan
