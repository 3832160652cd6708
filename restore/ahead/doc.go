// Package ahead holds what a vault has of a shard's log against where a standby stands.
//
// It promises that a way to the vault's end is whole, or an error: what is missing, or
// cannot be read, is never taken for the end. It reads names and records, no log.
package ahead
