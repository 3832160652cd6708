// Package servers starts real PostgreSQL, Redis and S3 servers, and the HAProxy and
// PgBouncer before them, and finds their programs: for restores, drills, tests and the lab.
//
// It promises that a server is known by its process before it is used, listens
// on loopback only, gets no secret in its arguments, and is killed by the
// kernel when drctl dies unless it was asked to be detached. It never starts a
// second server on a data directory, and never stops one that it did not start.
package servers
