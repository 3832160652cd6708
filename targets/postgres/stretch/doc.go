// Package stretch turns a shard's write-ahead log, from one place to another, and
// what an observer saw of its server into the values that a proof rests on.
//
// It promises that
//   - every commit of the stretch is in it, in the order of the log, with the
//     server's stamp, its gid and its tags, byte for byte as the platform wrote them;
//   - a stretch begins and ends where records do;
//   - whatever the log or the observations do not say makes the stretch weaker, and never stronger:
//     it begins later, its end is not observed, or nothing can be proven of
//     it or of its global transactions. shardlog.Missing says what was missing;
//   - it is of one timeline. Observations of another are of no use and left out.
//
// It never looks for a cut and never judges one. It knows no files, no archive and no
// server: bytes and observations in, values out.
//
// # Where a stretch begins
//
// At the first record wanted, or soon behind it: a log that is read bit by bit remembers
// where records begin on each page, and those that say something.
//
// A proof wants to know since when tags and gids are known. The reader of the
// log tells from which place on it has seen all transactions from their
// beginning; before that place a commit may have a tag that nobody read. That is KnownFrom,
// and it may lie behind the beginning of the stretch, or not be known at all.
// Read the log from far enough back: 15 seconds, the longest
// transaction and the limit of half-done global transactions before the
// instant of interest.
//
// A record that lies across the place where reading began is not in the stretch. After a
// crash other bytes may lie there; so what counts is when the first record behind it
// had been reached.
//
// # What is taken from an observation
//
// Everything before its Flush had been flushed at T1, because the server said so
// before T1. The log ended at or before its Insert at T0, because the server looked
// after T0. Its clock showed Stamp between the two.
//
// # What is assumed
//
// The bytes are those that recovery will replay. The observations are of the server that
// wrote them: two servers that were promoted from the same timeline both call
// theirs the next one, and are told apart by nobody here.
package stretch
