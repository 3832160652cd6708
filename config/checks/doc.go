// Package checks is the part of the configuration that says what must hold in the restored
// data of a drill.
package checks
