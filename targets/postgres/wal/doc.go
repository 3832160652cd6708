// Package wal reads PostgreSQL's write-ahead log for what a proof needs: which
// transactions were decided, in which order, at which time of the server's
// clock, under which global identifier and with which of drctl's tags.
//
// It promises that
//   - it reads the logs of PostgreSQL 13 to 18 with segments of every size, from
//     any page on, over pages, segments and timelines;
//   - every record has passed its checksum and names the one before it, and
//     every page carries the address and the timeline that belong there, so
//     bytes that are damaged, missing or of another place are an error that
//     names the place;
//   - the end of the log is told apart from damage, and the place where the
//     last whole record ends and the next one begins is exact;
//   - memory is bounded, whatever the bytes say, and no bytes make it panic;
//   - a transaction whose beginning was not seen is never called whole.
//
// It knows no files, no archive and no server: bytes in, values out. It never
// repairs, guesses or skips what it does not understand: a version, a page size
// or a record that it does not know is refused.
//
// # The stamp of a commit
//
// A commit record carries the server's clock (the same that clock_timestamp()
// reads, in microseconds). The proof rests on two facts about that stamp. They
// were checked in the sources of the stable branches 13 to 18.
//
// It is read after the last statement of the transaction. CommitTransaction in
// src/backend/access/transam/xact.c runs deferred triggers and constraints, the
// callbacks before commit (in which postgres_fdw commits on other servers), ON
// COMMIT actions and the check for serialization failures, and only then sets
// TRANS_COMMIT and calls RecordTransactionCommit, which reads the clock:
// SetCurrentTransactionStopTimestamp() in 13 and 14,
// GetCurrentTransactionStopTimestamp() from 15 on. The latter keeps a value that
// is there already, but StartTransaction clears it, also for each transaction of
// a procedure, and it asserts that nobody asks before TRANS_COMMIT; what the
// server itself asks for (statistics of scans, from 16 on) it asks between
// transactions. An extension that asks earlier breaks that assertion and this
// fact; none is known.
//
// It is read before the record gets its place in the log. In all six the value
// is an argument of XactLogCommitRecord, whose last act is XLogInsert, and the
// place is reserved in there (ReserveXLogInsertLocation in xlog.c). Between the
// two the process may be held up for any time. So stamps are not in the order of
// the log: what stands behind a record in the log was placed after that record's
// stamp, and nothing else follows.
//
// COMMIT PREPARED takes its own stamp: RecordTransactionCommitPrepared in
// twophase.c reads GetCurrentTimestamp() on entry and then calls
// XactLogCommitRecord, in all six. All statements of that transaction were over
// before its PREPARE. The stamp of PREPARE (prepared_at) is read at the start of
// PrepareTransaction's work on the record, after deferred triggers.
//
// Parallel workers change nothing: the leader ends its workers in
// CommitTransaction before the stamp, and a worker writes no commit record.
// Asynchronous commit changes nothing in the order: it only delays the flush, so
// a crash may lose the end of the log. A transaction that applies changes of
// another server (a replication origin) carries two times: the stamp, which is
// this server's, and the origin's, which is another server's and must never be
// taken for it. pg_xact_commit_timestamp() shows the origin's.
//
// A transaction without an identifier (it wrote nothing) leaves no record, and
// pg_logical_emit_message(true, ...) gives it one.
package wal
