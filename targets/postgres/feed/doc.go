// Package feed gives a standby log that a vault has beyond what the standby got from
// its primary, before it is promoted.
//
// It promises that
//   - the whole part, up to the end that the caller has proven, was read and every
//     record of it checked before a byte reaches the standby: a log that ends early,
//     for whatever reason, is an error and never the end;
//   - what the standby has replayed is a beginning of that log, byte for byte;
//   - the standby's log ends with a whole record, where it was fed;
//   - it returns once the standby has replayed it.
//
// It never promotes, and never judges where a log ends.
package feed
