// Package moments finds, keeps and proves moments of a group for the commands that ask
// for one: it fills in what the configuration, or a vault alone, says of the group.
//
// It never asks production for anything, and keeps nothing before it is asked to.
package moments
