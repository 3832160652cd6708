// Package stream keeps the byte-exact archive of a shard's own log: chunks in
// vaults, the archiver that writes them, the reader that gives them back, and
// the contiguity of it all.
//
// It promises:
//   - bytes count as durable only once as many vaults as the policy asks for
//     hold everything of the stream up to them, without a hole;
//   - a reader returns exactly the bytes asked for, every byte checked, or an
//     error that names the range that is missing or the object that is damaged;
//   - the archiver keeps no local state: killed at any moment, the next one
//     resumes from what the vaults hold (the last chunk is read: a name alone does
//     not move the end), and two at once do no harm;
//   - a position is recoverable from a vault only where a base and an unbroken
//     stream in that vault lead to it (Trail);
//   - what it costs to seal, to plan and to start follows what is new: the log is
//     listed from the last sealed cut, the base, or its end, never as a whole;
//   - what a vault's retention removed is not copied back;
//   - a vault that was away catches up from the others, oldest first, and
//     counts again only when it holds everything;
//   - bounded memory, whatever the sender does: Write blocks.
//
// It knows no protocol: timelines and offsets are opaque. It never deletes.
//
// Not yet: compaction. An idle store leaves a small chunk a second, 86,400
// objects a day; readers make up for that with many reads at once, listings
// and request prices do not. Merging old chunks needs a rule by which archiver,
// mirror and retention agree on what a merged chunk replaces.
//
// A timeline may have holes. They are declared by Begin at an offset after the
// tail, or in a timeline that was left after its tail, and recorded as objects
// of their own ("hole-<from>-<to>"), so that a resume can tell them from chunks
// that a crash kept from the vault. A hole that was declared is not waited for:
// behind it bytes count as durable when everything after it is held, and can be
// recovered once there is a base behind it. One that was not declared is waited
// for.
package stream
