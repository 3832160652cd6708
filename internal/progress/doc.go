// Package progress tells a person how long work goes on: one row per shard
// with phase, rate and time left, redrawn on a terminal and written as plain
// lines elsewhere, and the tables that every command and report shares. The words
// for figures are internal/human's.
//
// It promises that a JSON caller sees nothing but the final JSON, that colour
// is never the only signal, and that no text from outside can move the cursor
// or change the colour of a terminal (see human.Clean). It never reads the
// environment, never logs and never exits: the caller says what the writer is.
package progress
