// Package looked says of one run in the engine what it does, what it waits for, and
// how it ended.
//
// It reads alone: it signals nothing, and needs no worker.
package looked
