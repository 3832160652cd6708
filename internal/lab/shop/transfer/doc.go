// Package transfer is what a transfer between two shards is in SQL, and how one whose
// outcome is not known is settled: by its journal and by what both shards say.
//
// It promises that half a transfer does not stay: what is prepared is ended, and the
// missing half of a plain one is written. It leaves alone whatever is not a
// transfer of the shop, and what a silent shard may still decide.
package transfer
