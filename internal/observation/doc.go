// Package observation keeps what an observer saw of the servers of a group: what
// their clocks showed and how far their logs had come, at instants of the
// observer's own monotonic clock. It is kept in the vaults beside the streams, so that
// a consistent moment can be proven afterwards from a vault alone.
//
// It promises that
//   - all that one Batch says is of one observer, whose name no other start of
//     an observer has;
//   - what an observation says was so at some instant between its T0 and its T1;
//   - a batch is stored whole or not at all, and is never changed;
//   - what it costs to read follows the time that is asked for, not what is kept.
//
// It never asks a server itself, and never judges: a proof does.
package observation
