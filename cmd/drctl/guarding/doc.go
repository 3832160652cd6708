// Package guarding is the command drctl guard: the guard of a region's servers on
// this host, and its watchman.
package guarding
