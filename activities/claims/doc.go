// Package claims is the part of a recovery in the epochs of its group.
//
// It promises that a run promotes only while it holds the epoch that it has claimed, or
// where a person let that go and nobody else has claimed since; and that an epoch is given
// back only by the run that has it. It never decides who is to claim.
package claims
