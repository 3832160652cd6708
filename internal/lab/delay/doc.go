// Package delay puts a distance between a client and a server on one machine: a
// proxy that hands on every byte, in order, a fixed time after it came, and whose line
// can be cut and mended again, as a network is.
//
// It promises that connections end on one side when they end on the other, and
// that what is on its way is not limited by the delay, as on a long line. It
// listens on loopback. It never changes a byte.
package delay
