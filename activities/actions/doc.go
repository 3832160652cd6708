// Package actions are the activities of a recovery plan between regions: a section in
// one breath, and each step outside of one.
//
// It promises that
//   - a plan is read from a vault by its hash, and refused when it is not that one;
//   - a section's journal is in the vault of the region that takes over, so that
//     whoever goes on after a death knows what was begun;
//   - the number of a promotion (its epoch) was never given to another run by a vault
//     that took it;
//   - a step that only people can do, or that nothing here can, fails and says so.
//
// It decides no order: that is the workflow's, by restore/machine.
package actions
