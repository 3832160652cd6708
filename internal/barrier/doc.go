// Package barrier takes a cut: it stops the writers of every shard of a group
// for a few milliseconds, names one position in each shard's log, and lets go.
//
// It promises that
//   - a cut is returned only when every lock was still held after the last
//     position had been named (each release is answered by a live transaction);
//   - no attempt stalls a writer for longer than its budget, and the server
//     lets go by itself after the lease when the coordinator dies or is cut off;
//   - every position is durable on its server, by the word of the session that
//     named it: a crash in between makes the attempt no cut;
//   - a name is never used for two attempts, so that a recovery to it cannot
//     stop at an abandoned one.
//
// It never leaves a lock behind on purpose, never goes through a pooler (the
// drivers refuse them) and knows nothing of any particular store.
package barrier
