// Package sealing makes a cut that was taken one that can be recovered.
//
// It promises that a cut is sealed only once, in each of as many vaults as the
// policy asks for, a base and an unbroken durable stream of every shard lead to
// it, or its manifest with every object is there; that the record names just
// those vaults; and that a vault which was away gets the record only when it
// holds all of that too. It never seals a part of a cut, and stops no writer.
package sealing
