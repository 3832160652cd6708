// Package observe asks PostgreSQL servers for their clock and the end of their log, at
// instants of one observer's monotonic clock.
//
// It promises that
//   - what an observation says was so at some instant between its T0 and its T1: the
//     readings come from one statement;
//   - all that one session says is of one run of one server: a connection does not
//     outlive it;
//   - it costs the server a statement without a lock, that any role may run.
//
// It never retries, and never opens a connection itself. It asks a primary; a server in
// recovery has no log of its own and refuses.
package observe
