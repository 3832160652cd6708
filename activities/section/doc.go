// Package section runs the steps of one section of a recovery plan in one breath:
// hold, silence, drain, promote, reroute, without a trip to the engine in between.
//
// It promises that
//   - the journal knows of every step that has to be undone, or that nothing can
//     undo, and of every undoing, before it begins, and who goes on from a journal
//     goes on from there;
//   - of two that run the same section only one gets behind the point of no return:
//     the journal takes each entry once, and who finds another's stops;
//   - before that point a failure, a cancellation or a death leads to everything
//     being undone, the last first; behind it the section goes on to its end;
//   - it never says that it was taken back when a step could not be.
//
// It decides nothing: the order is restore/machine's, what a step does is the
// Hands', which have to take every step and every undoing again from anywhere. It
// never asks people; a step that wants them ends the run, and a later run tries
// that step again.
package section
