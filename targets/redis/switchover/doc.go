// Package switchover moves the master of a Redis shard: it is one shard's hands in a
// switchover, a failover and a failback.
//
// It promises that
//   - writers wait on the server itself, for a lease that ends by itself, whoever dies;
//   - the old master becomes a replica before the new one takes writes, so that there
//     are never two masters, wherever it is interrupted;
//   - the new side holds every byte that the old one sent before it was demoted, by
//     offset and replication id together;
//   - a replica of another history is never promoted;
//   - every step may be repeated, also by another process.
//
// It never decides that there is to be a switchover, and never moves traffic.
package switchover
