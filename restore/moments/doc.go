// Package moments finds, keeps and proves moments of a group for whoever asks for one, a
// command or a recovery: it fills in what the configuration, or a vault alone, says of the group.
//
// It never asks production for anything, and keeps nothing before it is asked to.
package moments
