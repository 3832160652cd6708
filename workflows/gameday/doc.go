// Package gameday runs a game day: its gates, its faults, the recovery that it rehearses, its
// questions and its record.
//
// It promises that nothing is planted before every gate has passed, that everything planted
// is taken away before it ends, however it ends, and that it leaves a record, whatever came
// of it. The recovery is the one that a command starts, under the same id, which is its lock.
package gameday
