// Package handover holds the values and the contract by which the primary of a shard
// moves to another instance: switchover, failover, failback.
//
// It promises that nothing of it is a secret but instances, and that a proof of
// silence counts for the instance and the epoch that it names alone. It never does
// I/O and imports no driver.
package handover
