// Package targettest is what a new kind of store must pass: one suite that
// every driver runs against real servers, with an archive in memory and the
// faults that a vault, a network and a disk can have.
//
// It promises that a driver which claims success where bytes were missing, cut
// off or altered, which touches an instance that is not empty, which loses a
// piece of a log without saying so, or which writes a secret into an error or a
// log line, fails the suite; Catches shows that on drivers broken on purpose. It
// never measures time, and knows no kind of store but by its traits.
package targettest
