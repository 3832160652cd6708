// Package machine is the one interpreter of recovery plans: a pure function from
// a state and an event to the next state and what is to be done now.
//
// A workflow feeds it with what happened; a simulation feeds it with thousands of
// seeded orders of events; the activity that runs a section feeds it with the steps
// inside. It promises that
//   - no step begins before all that it needs have succeeded;
//   - a failed step stops what needs it, and as much more as the plan says;
//   - at most Window steps run at once;
//   - nothing begins after a cancellation, but behind the point of no return, where
//     it stops nothing;
//   - before that point, what was begun is undone when the run is given up, a step
//     always after those that came behind it; past it nothing is ever undone;
//   - nobody can skip what the next step rests on: a decision, a proof, a promotion;
//   - every step ends before the run is finished, and every state has a way to the end.
//
// It does no I/O, reads no clock and starts nothing by itself: timers are asked for.
package machine
