// Package fencing makes a Redis server of this host let go: no writes, no clients,
// stopped.
//
// It promises that the process is the one that answers at the address, and that
// nothing else of the kind works in its directory. Writers that are kept waiting
// get no answer: what they sent is not carried out. It never starts a server, and
// takes no pause back: somebody else's might be the one that ends.
package fencing
