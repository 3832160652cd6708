// Package observe asks PostgreSQL servers for their clock and the end of their log, at
// instants of one observer's monotonic clock.
//
// It promises that
//   - what an observation says was so at some instant between its T0 and its T1: the
//     three readings come from one statement;
//   - an observer never gives an instant of another epoch than its own, and has a
//     name that no other has;
//   - it costs the server a statement without a lock, that any role may run.
//
// It never retries and never opens a session. It asks a primary; a server in
// recovery has no log of its own and refuses.
package observe
