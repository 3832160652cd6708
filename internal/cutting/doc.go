// Package cutting takes a cut of a group as its policy says: read out of the logs,
// with the gate held or not, or at a barrier of table locks.
//
// It promises that
//   - what it returns has all shards of the group, or says which it lacks and why, if
//     the policy allows that;
//   - a cut lies after the moment at which it was asked for: what was acknowledged
//     before is in it;
//   - a grade is never better than what the evidence shows, which is stored before
//     the cut is returned;
//   - it returns a lesser grade only if the policy accepts it, and only after it has
//     looked for a better one for as long as the policy says, unless none is possible;
//   - nobody waits for a cut that is read out of the logs, but cross-shard writers for
//     the gate and writers of Redis for a pause, if the policy wants either.
//
// It never seals, and never takes tables' locks unless the mode names them.
package cutting
