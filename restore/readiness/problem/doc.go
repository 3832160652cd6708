// Package problem is one thing that endangers recovery or will, as status prints it and
// JSON carries it.
//
// It promises that code and subject name a problem as long as it lasts. It judges nothing, and is pure.
package problem
