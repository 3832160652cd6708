// Package halfdone says what a failover has left half done of the global transactions of a
// group: which of those that are prepared on the new primaries can be ended by the rule, and
// of which tagged ones a part is lost.
//
// The rule is that of restores: a transaction in doubt is committed when a part of its
// global transaction is committed on a new primary, and rolled back when none is. It promises
// that the rule decides only where every log was read from before the transaction was
// prepared; whatever was not read, or contradicts itself, is left, with the reason. It ends nothing.
package halfdone
