// Package clocks gives a server of a lab a clock of its own, which can be wrong and can step while the
// server runs: by libfaketime, which stands between a program and the host's clock.
//
// It promises that a clock is right until somebody sets it, and that it never goes another way than
// the host's between two settings. Clocks that only measure how long something takes (CLOCK_MONOTONIC) stay as they
// are, as on a host whose time is set.
package clocks
