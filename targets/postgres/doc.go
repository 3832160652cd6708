// Package postgres teaches drctl PostgreSQL: probing, the barrier, the WAL
// stream, bases, restores to a restore point, and verification.
//
// It promises that
//   - a barrier ends by itself. When the coordinator dies or is cut off, the server drops it after
//     the lease; the client drops the connection when its own clock says so;
//   - WAL is acknowledged to the server only after the archive reports it durable. It is handed
//     over byte for byte, segment-aligned at the start of every timeline;
//   - a base has a record only when the server was the same primary, on the same timeline, from its
//     first byte to its last. A torn control file never enters it;
//   - a restore writes only into an empty directory, into its own that broke off, or, with Delta,
//     into one of the same cluster whose server is down;
//   - it stops only a server that it has started, and reports success only when the server itself
//     says that replay stopped at the point asked for.
//
// It never goes through a pooler. It never puts a secret into an argument list, a log or an error.
// It never changes a server that it only looks at: the one exception is its own replication slot.
//
// Unlogged tables need no special care. At the end of every recovery the server itself empties them
// from their init forks, which a base contains. So a main fork that was copied in the middle of a
// write is never read.
package postgres
