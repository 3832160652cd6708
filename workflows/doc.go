// Package workflows interprets recorded plans: order, time-outs, undo. Nothing
// else is decided here.
//
// It promises
//   - determinism: workflowcheck checks it, and stored histories are replayed;
//   - that a cancelled workflow undoes what it started, on a disconnected
//     context.
//
// It never touches a server, a vault or a clock but the workflow's own.
package workflows
