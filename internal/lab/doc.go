// Package lab runs a two-region platform on one machine from real servers:
// PostgreSQL primaries with streaming standbys in the other region, Redis
// masters with replicas, and an S3 server per region with a media bucket and
// a vault bucket; on request with a PgBouncer before each PostgreSQL shard and a HAProxy
// before each Redis master, which are lost with no region; on request with lines between
// the regions, and with clocks of the servers' own.
//
// It promises that every server is recorded in lab.json before it is used,
// that Up may be repeated and starts what is down, and that Down and Break
// signal only what the record names. Servers listen on loopback. It is for
// demonstrations, drills and tests, never for data that matters.
package lab
