// Package backlog says whether a Redis server's replication backlog is large enough
// for a follower that is away, and small enough for the server's memory. It is pure.
package backlog
