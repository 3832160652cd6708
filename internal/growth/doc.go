// Package growth shows in tests that work grows no faster than what it is done for.
//
// It promises that other work on the machine, and on other goroutines, does not count: it measures the
// time of one thread. It knows nothing of what it measures.
package growth
