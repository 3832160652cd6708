// Package runs finds runs of recovery plans between regions in a vault: which began,
// how they ended, which was taken up by another engine, and what of them was done.
//
// It promises that a run whose end is not recorded is never called ended, and one whose
// records cannot be read never finished, taken back or unknown.
//
// It writes nothing: the activities of a run do.
package runs
