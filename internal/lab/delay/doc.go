// Package delay puts a distance between a client and a server on one machine: a
// proxy that hands on every byte, in order, a fixed time after it came, and whose line
// can be cut, both ways or one, made longer, lose pieces, and be mended again, as a network is.
//
// It promises that connections end on one side when they end on the other, and
// that what is on its way is not limited by the delay, as on a long line. It
// listens on loopback. It never changes a byte.
//
// It is no network in three things. Who connects over a line that is cut is let in and hears
// nothing. Over a line that is cut one way what goes the other way is never held back for want of an answer. And TCP
// shows no loss but by its stalls, and by a connection that is given up: that is what a lossy line does.
package delay
