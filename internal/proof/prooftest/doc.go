// Package prooftest simulates small groups of servers, with clients whose
// operations depend on each other, and judges cuts by what truly happened.
//
// It promises that a seed always gives the same history, and that Judge knows
// nothing of how a cut was found: it goes by true instants and by what each
// operation had read or been told.
//
// The servers' clocks are skewed, drift, are stepped and slewed; commits get their stamp
// first and their place in the log a random time later, and are visible after
// that. Clients hop between shards and Redis masters, read, tell each other what they
// know, run global transactions with tags, in two phases, as sagas and under a gate, and
// die in the middle of them.
//
// Tests alone use it.
package prooftest
