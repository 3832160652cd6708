// Package machine is the one interpreter of recovery plans: a pure function from
// a state and an event to the next state and what is to be done now.
//
// A workflow feeds it with what happened; a simulation feeds it with thousands of
// seeded orders of events. It promises that
//   - no step begins before all that it needs have succeeded;
//   - a failed step stops what needs it and nothing else;
//   - at most Window steps run at once;
//   - nothing begins after a cancellation;
//   - every step ends as exactly one of done, failed and not run, before the run
//     is finished.
//
// It does no I/O, reads no clock and starts nothing by itself.
package machine
