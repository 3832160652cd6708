// Package assert judges the answer to a configured query: the one meaning of
// what an assertion or a sum wants, for every kind of store.
//
// It promises that numbers are compared exactly, digit by digit, and that an
// answer which is nothing, no number where one is needed, or not finite never
// passes by accident: such a check fails and says why. It never connects,
// never rounds and never guesses what an expectation may have meant.
package assert
