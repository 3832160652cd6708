// Package logtail reads the archived log of a shard for proofs, out of one vault.
//
// It promises that
//   - what a stretch says is what reading exactly the bytes of its Span anew says,
//     whether they were just read or are remembered;
//   - who asks again and again pays for what is new: the log that was read is not read
//     twice, and what is remembered is bounded by how far back is asked for;
//   - another timeline, a hole, and chunks that came later for bytes that were read
//     already make it read anew: what is remembered is never mixed with what it is not;
//   - it never lists a whole log.
//
// It knows no protocol: drivers read the bytes (shardlog.Opener). It judges nothing.
package logtail
