// Package workflows interprets recorded plans: order, time-outs, undo. Nothing
// else is decided here.
//
// It promises determinism (checked by workflowcheck and by replaying stored
// histories), and that whatever a workflow started is undone on a disconnected
// context when it is cancelled. It never touches a server, a vault or a clock
// but the workflow's own.
package workflows
