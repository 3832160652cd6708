// Package gamedays is drctl drill for game days: it holds one, ends one, shows what is left
// of one, carries people's approvals, and answers the questions of one for a worker.
package gamedays
