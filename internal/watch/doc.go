// Package watch is the observer of a group: it asks the primary of every shard that has
// a log, again and again over connections that stay open, for its clock and for how far
// its log has come, and keeps what they said in the vaults.
//
// It promises that
//   - all instants are of one monotonic clock, that of the one observation.Observer of
//     a Watcher;
//   - a server that is silent, gone or replaced holds up no other: each shard has a
//     connection and a goroutine of its own, and the primary is looked for again;
//   - what was observed goes into every vault that takes it. What a vault missed
//     follows when it is back. While none takes it the oldest is dropped, which is
//     said, so that memory stays bounded;
//   - a burst is stored in as many vaults as the policy asks for before it returns;
//   - writers of Redis servers wait only while a burst says so, and never for longer
//     than its lease, whoever dies.
//
// It never judges what it sees, never writes to a server, and knows no engine.
package watch
