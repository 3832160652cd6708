// Package redis teaches drctl Redis 7 and later: it follows the replication
// stream, takes bases, marks cuts, restores to any replication offset and
// verifies.
//
// It promises:
//   - the archived stream is byte for byte what a replica receives, and its offsets are the
//     server's master_repl_offset;
//   - the server is told (REPLCONF ACK) only what the archive says is durable. A side effect: WAIT
//     counts drctl as a replica, so a client can wait until its write is in the vaults;
//   - a restore loads into a real server with aof-load-truncated off, or fails: a command or a
//     transaction is there whole or not at all;
//   - a restore refuses a directory that is not empty (unless it is its own that broke off), one in
//     which a server runs, and an address that answers.
//
// It never writes to a server but for the marker key of a cut. It never starts, stops or
// reconfigures one but the server of a restore.
//
// # Timelines
//
// A timeline is a replication id. A server that is promoted goes on under a new id, and remembers
// the old one with the offset where it took over. The new timeline begins exactly there, with the
// old one as its parent.
//
// A server may have lost the bytes after the archive's tail: its backlog was too small, it was
// restarted, another server took over without them. Then it sends a full resync. Its image is kept
// as a base, and the timeline begins at its offset.
//
// # What a restored server holds
//
// Exactly the keys of the server at the offset, with one exception that no restore can avoid: times
// to live are instants. A key whose time had passed by the wall clock of the restore, but not yet
// at the cut, is loaded. It then expires at once, as it would have on the server by now. A key that
// had expired at the cut, but that the server had not yet removed, is treated the same.
//
// While the files are loaded nothing expires, so the outcome of every command in the stream is as
// it was. To look at such keys, copy the restored directory and start a server under faketime.
//
// # What an administrator should know
//
//   - repl-backlog-size bounds how long drctl may be away without a full resync: the bytes written
//     per second times the seconds to bridge. The default of 1 MiB is small. It comes out of
//     maxmemory, for which keys are evicted or writes refused: keep it below a quarter of that.
//     Probe warns of both; drctl changes no setting.
//   - client-output-buffer-limit replica: when the vaults are slow, drctl stops reading (its memory
//     is bounded) and the server drops it past this limit. The stream is then resumed from the
//     backlog.
//   - While the image of a full resync is stored, what the server writes is kept in a file in
//     TMPDIR. So neither repl-timeout nor the backlog bounds how long that takes. The file has no
//     name and ends with drctl.
//   - min-replicas-to-write and WAIT count drctl. Sentinel lists it as a replica with port 0, which
//     it cannot reach and does not promote.
//   - A user for drctl needs +ping +hello +info +select +dbsize +psync +replconf +eval +set
//     +command +config|get +client|setname +client|pause +client|unpause on the keys
//     drctl:cut:*, and what the configured assertions read.
//   - Redis Cluster and Redis before 7 are refused.
package redis
