// Package barrier takes a cut: it stops the writers of every shard of a group
// for a few milliseconds, names one position in each shard's log, and lets go.
//
// It promises that
//   - a cut is returned only when every lock was still held after the last
//     position had been named: a live transaction answers each release;
//   - no attempt stalls a writer for longer than its budget. When the coordinator
//     dies or is cut off, the server lets go by itself after the lease;
//   - every position is durable on its server, by the word of the session that
//     named it. After a crash in between, the attempt is no cut;
//   - a name is never used for two attempts, so that a recovery to it cannot stop
//     at an abandoned one.
//
// It never leaves a lock behind on purpose. It never goes through a pooler: the
// drivers refuse them. It knows nothing of any particular store.
package barrier
