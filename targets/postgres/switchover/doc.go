// Package switchover moves the primary of a PostgreSQL shard: it is one shard's
// hands in a switchover, a failover and a failback.
//
// It promises that
//   - the new side is promoted only with a proof of silence for every other instance
//     of the shard, and only when it is on the old side's line, by ancestry;
//   - in a switchover the new side holds exactly the old one's last record, its
//     shutdown checkpoint, before it is promoted;
//   - an old side that was stopped for it comes up as a standby, and never as a
//     primary, whoever starts it, until Undo;
//   - the archiver's slot is on the new side before its first write;
//   - every step may be repeated, also by another process, and is bounded by its
//     context;
//   - log of the old side is undone only once what no vault has of it was kept.
//
// It never decides that there is to be a switchover, never moves traffic, and never
// forgets the old side's own log in silence.
package switchover
