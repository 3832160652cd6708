// Package human words figures for people: sizes, counts, durations and rates,
// the same in every command, report and message, and makes text from outside
// safe for a terminal.
//
// It promises that every figure fits a column (two units or three digits at
// most) and that cleaned text cannot move a cursor or change a colour. It never
// reads the environment and never writes: it returns strings.
package human
