// Package postgres teaches drctl PostgreSQL: probing, the barrier, the WAL
// stream, bases, restores to a restore point, and verification.
//
// It promises that
//   - a barrier ends by itself: the server drops it after the lease when the
//     coordinator dies or is cut off, the client drops the connection when its
//     own clock says so;
//   - WAL is acknowledged to the server only after the archive reports it
//     durable, and is handed over byte for byte, segment-aligned at the start
//     of every timeline;
//   - a base has a record only when the server was the same primary, on the
//     same timeline, from its first byte to its last, and a torn control file
//     never enters it;
//   - a restore writes only into an empty directory (or into its own that broke
//     off, or, with Delta, into one of the same cluster whose server is down),
//     stops only a server that it has started, and reports success only when
//     the server itself says that replay stopped at the point asked for.
//
// It never goes through a pooler, never puts a secret into an argument list, a
// log or an error, and never changes a server that it only looks at: the one
// exception is its own replication slot.
//
// Unlogged tables need no special care: the server itself empties them at the
// end of every recovery from their init forks, which a base contains, so a
// main fork that was copied in the middle of a write is never read.
package postgres
