// Package meter measures what the shop's customers feel: the latencies of their
// operations, by second, over a whole run, of two kinds of time in one run against
// each other, and of every store: how long it took no writes.
//
// It counts acknowledged operations alone as latencies, and every operation as an
// outcome. It starts nothing and knows no clock but what it is told.
package meter
