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
// reads, in microseconds). A proof rests on two facts about that stamp, which
// were checked for each of the six versions: in the sources, in the order of the
// calls in the servers' programs, and, as far as it shows, by the tests here.
//
// It is read after the last act of the transaction. CommitTransaction in
// src/backend/access/transam/xact.c runs deferred triggers and constraints, the
// callbacks before commit (in which postgres_fdw commits on other servers), ON
// COMMIT actions and the check for serialization failures, and ends the parallel
// workers; only then it sets TRANS_COMMIT and calls RecordTransactionCommit,
// which reads the clock.
//   - 13 to 15 read it without condition: SetCurrentTransactionStopTimestamp(),
//     right before XactLogCommitRecord.
//   - 16 to 18 pass GetCurrentTransactionStopTimestamp(), which keeps a value
//     that is there already. StartTransaction clears it, also for each
//     transaction of a procedure; its only other callers are RecordTransactionAbort,
//     pgstat_report_stat and, called by that, pgstat_relation_flush_cb, which run
//     between transactions. An extension that asks in the middle of a transaction
//     breaks an assertion of the server, and this fact; none is known.
//
// It is read before the record gets its place in the log. In all six the value
// is an argument of XactLogCommitRecord, whose last act is XLogInsert, and the
// place is reserved in there (ReserveXLogInsertLocation in xlog.c). Between the
// two the process may be held up for any time. So stamps are not in the order of
// the log: what stands behind a record in the log was placed after that record's
// stamp, and nothing else follows. And what others see of a transaction they see
// after its record got its place (ProcArrayEndTransaction comes later).
//
// COMMIT PREPARED has a stamp of its own: RecordTransactionCommitPrepared in
// twophase.c reads GetCurrentTimestamp() on entry and then calls
// XactLogCommitRecord, in all six. All acts of that transaction were over before
// its PREPARE. The stamp of PREPARE is read in PrepareTransaction behind deferred
// triggers and before its record.
//
// A parallel worker writes no commit record. Asynchronous commit changes nothing
// in the order: it only delays the flush, so a crash may lose the end of the
// log. A transaction that applies changes of another server (a replication
// origin) carries two times: the stamp, which is this server's, and the origin's,
// which is the other's and must never be taken for it;
// pg_xact_commit_timestamp() shows the origin's.
//
// A transaction that wrote nothing has no identifier and leaves no record;
// pg_logical_emit_message(true, ...) gives it one.
package wal
