// Package rounds judges from outside what a move of primaries did to those who use them:
// a watch that asks every server directly and all the time whether it takes a write, and
// one register for each shard, read and written by several clients the way customers come,
// whose history is held against what a register may do.
//
// It promises that
//   - two servers of a shard that took writes in turn are found by what they answered
//     alone: each answer lies between two readings of one clock, and nothing is assumed of
//     the time between two answers;
//   - a history is refused when no order of its operations explains it: an acknowledged
//     write that is gone, a value that comes back, a value that nobody wrote;
//   - a failover may undo what its statement of loss covers, once, from the end backwards,
//     and nothing else.
//
// It shares no code with what moves primaries. It plants no faults.
package rounds
