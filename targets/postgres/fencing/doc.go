// Package fencing makes a PostgreSQL server of this host let go: read-only, no
// sessions, stopped.
//
// It promises that sessions are counted by what the server lists and processes by
// what works in its data directory, and that a signal reaches the server of that
// directory alone. A server that was made read-only stays so when it is started
// again, until Release. A session can ask for a transaction that writes all the
// same: it is the stop that silences, not the setting. It never starts a server.
package fencing
