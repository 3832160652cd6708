// Package timeline is the geometry of a shard's archived log: timelines, the
// chunks that hold their bytes, the gaps between chunks, and the way that leads
// from a base to a point.
//
// It promises:
//   - Back is the only walk through the ancestors of a timeline. It ends also
//     when the records form a loop, or name a parent that nobody knows;
//   - Cover names every byte of a range as held or as missing, never as both;
//   - DecodeRecord reads what Encode wrote, and refuses the record of another
//     timeline.
//
// It is pure: no I/O, no clock. It knows no protocol: timelines and offsets are
// opaque. It never decides what to keep, to copy or to restore.
package timeline
