// Package history says which recovery plans between regions a group had, what came of
// them, and whether one is verified.
//
// Every run of a plan counts by the plan's hash, and so does every drill of one that was
// kept with SaveDrill.
//
// It promises that
//   - a run whose end no vault knows verifies nothing, and neither does a plan of which the
//     vault that has to know it does not tell;
//   - whether a plan is verified is found in what is not too old to count: what is kept
//     beyond that is not read;
//   - a plan that was edited is another plan.
package history
