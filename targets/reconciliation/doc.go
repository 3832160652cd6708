// Package reconciliation is the contract of drivers whose stores take writes on both sides: how two
// instances that went on separately are brought together. It has values and no I/O.
package reconciliation
