// Package journal is the outside truth about the shop's traffic: what every client
// did, by its own clock, written before and after each commit.
//
// It promises that a commit is journaled before it is sent and after its answer
// came; that a journal of a generator that was killed is whole up to then; and that
// two generators do not write one journal. It never asks a store anything.
package journal
