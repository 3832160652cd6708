// Package reconciling has the command that brings stores together that took writes on both
// sides.
package reconciling
