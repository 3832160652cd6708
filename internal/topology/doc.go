// Package topology finds out which server of a shard is its primary: the one
// that cuts, bases and the archive are taken from.
//
// Probe asks the servers; everything else only decides by what they said. It
// promises that no primary is named when the servers' logs do not tell which of
// several was promoted last: a cut of the wrong one would look like a good one.
// It never promotes, stops or changes a server.
package topology
