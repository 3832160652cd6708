// Package lines makes the log lines of Temporal, of its client and of its server,
// lines of drctl: with the keys of drctl, and with the level that they have for
// those who run it. It puts run and shard on every line that an activity or a
// workflow logs, and tells why an attempt at a step has failed.
//
// It promises that a level is only ever lowered for exact messages, and for an
// error only when it is a cancelled poll and nothing else, or when the error is
// told elsewhere. It changes no history: a workflow that is replayed with it and
// without it takes the same commands.
package lines
