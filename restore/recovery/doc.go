// Package recovery binds a goal ("the group shop as of its latest cut, into a
// sandbox") to an inventory (what a vault holds): it makes a plan, which is
// shown before it runs, hashed, and interpreted by a workflow.
//
// It promises that
//   - Build is pure;
//   - the base of every shard is chosen automatically: the newest from which the
//     stream reaches the point without a hole;
//   - a plan covers every shard that was asked for, or does not exist.
//
// It never touches a server or a vault.
package recovery
