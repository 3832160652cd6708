// Package approving is the activity that judges the approvals of a recovery plan.
//
// It promises that the people and keys of the worker's own configuration decide, that people
// are counted and not keys, and that a glass that was broken is on the list in the vaults before
// it counts.
package approving
