// Package evidence is the record of how a cut was read out of the logs: its stored form, and
// what a later cut takes from an earlier one.
//
// It promises that
//   - every text of a platform survives in it, whatever bytes it has;
//   - evidence that is read is the one that the cut names, byte for byte;
//   - a base is a cut that left nothing half done but what it lists, of the same shards and the
//     same rules, and its content is in the record of the cut that goes on from it: that needs no other
//     record to be proven.
//
// It judges no cut and reads no log.
package evidence
