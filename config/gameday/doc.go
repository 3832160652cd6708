// Package gameday is the part of the configuration that says what a game day is: which
// recovery is run, what is broken meanwhile, what is expected, and what ends it early.
package gameday
