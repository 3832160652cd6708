// Package steps are the hands of a recovery plan: what each action of a section does
// on servers and routes.
//
// It promises that
//   - what has to be known to take a step back, or to go on after a death, was
//     returned by Prepare or by the step before, so that it is in the journal;
//   - a promotion is asked for with the proof of silence of its own shard, as the
//     step before returned it, and of no other;
//   - a step of a kind that it does not know fails: nothing is passed over.
//
// It decides no order and retries nothing: that is restore/machine's.
package steps
