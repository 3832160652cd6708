// Package inventory reads the catalogue of a vault: the cuts that were sealed or
// abandoned, and for a goal the bases and the log of every shard that lead there.
//
// It is the only part of restore that does I/O, and it only reads. It promises
// that damage never hides what is whole: what can be read is returned, and what
// cannot is named. It decides nothing: Build does, from what is returned.
package inventory
