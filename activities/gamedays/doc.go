// Package gamedays are the activities of a game day: its gates, its faults, its questions
// and its record.
//
// It promises that what is planted, asked and run comes from the configuration of the worker that
// does it: who starts a game day brings nothing but its name, and the hash by which a worker
// knows that it has the same drill. It plants nothing before the gates were passed, and
// leaves what is planted to package planting.
package gamedays
