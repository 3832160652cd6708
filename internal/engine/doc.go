// Package engine is everything that drctl knows about Temporal outside of
// workflows and activities: dialling a cluster or starting the embedded
// server, workers with sane limits, schedules that follow the configuration,
// progress of what runs, and errors that cross the boundary whole.
//
// It promises that an error encoded by an activity or a workflow comes out at
// the client with the same code, operation, subject and hint; that an
// operator's pause survives a reconciliation; and that an embedded engine
// never outlives the process that started it.
//
// It never registers a workflow, never retries on its own beyond what the SDK
// does, and never puts a secret into an option that is logged.
package engine
