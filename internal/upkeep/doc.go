// Package upkeep looks after what the vaults hold of a group: it checks that
// every byte is there and that every cut can still be reached from a base, keeps
// what the checks found where status finds it, and removes what the policy no
// longer keeps.
//
// It promises that a check which found damage is remembered until a later one
// has read as much and found nothing; that damage is a finding and never hides
// the rest; and that every removal is on record in the vault that it was made
// in, also one that broke off. It never changes what it checks.
package upkeep
