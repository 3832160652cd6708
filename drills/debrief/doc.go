// Package debrief makes the record of a drill from what was seen of it, and
// stores it.
//
// It promises that every drill leaves a record, whatever came of it: one that
// ended early says what did not run and why, one whose vaults are gone leaves
// files, and a drill that is written up twice leaves one record. It never calls a
// drill passed that had an error, never writes over a record, and knows no
// workflow and no engine.
package debrief
