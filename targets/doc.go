// Package targets holds the vocabulary of drctl as values (shards, instances,
// positions, cuts, artifacts) and the contract that every kind of store
// implements (Driver and its optional parts).
//
// It promises that every value is plain data that survives JSON and that no
// value but Instance holds a secret. It never does I/O and imports no driver.
package targets
