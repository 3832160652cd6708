// Package atmoment finds the newest moment at which a whole group is provably consistent, for a
// failover that lays the group down there, and settles it for the run.
//
// It promises that all shards of a run go to one moment, whoever asks how often; that it is
// found and bound by what restores use; and that its evidence is in the vault. It touches no server.
package atmoment
