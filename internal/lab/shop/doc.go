// Package shop is a small shop that runs on a sharded platform as traffic,
// with a journal outside the stores and a checker that does not use drctl.
//
// It promises that every operation is journaled before its commit is sent and
// after its answer came, each with the wall clock's time, so that Check can say
// after a recovery what must be there, what must not, and what was lost: whatever
// no journal has must not be there either.
// It never imports a driver or the vault: the checker must not share the code
// that it checks. One generator works on a platform at a time, unless each has
// a lane of its own (TrafficOptions.Lane). After a recovery the traffic goes on
// with a new journal: the old one speaks of operations that are lost on purpose.
package shop
