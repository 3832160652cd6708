// Package search finds cuts in a look at the logs of a group.
//
// It promises:
//   - what Find grants is true, if what it was told is: a cut is granted only if
//     every condition of the theorem in internal/proof holds; the checks carry
//     the numbers that the conditions have there;
//   - of the cuts of the best grade it returns the one that was asked for, or all;
//   - where it grants nothing it says what was in the way, and how often.
//
// Every shard has gaps, in which it is quiet; they are in order and do not overlap. A
// merge goes through the gaps that all shards, paused masters and holds have in common,
// and takes along which global transactions are half done. It costs
// O(n log n) over the records of the look.
//
// It is pure: no I/O, no clock.
package search
