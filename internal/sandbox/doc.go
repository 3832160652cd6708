// Package sandbox runs real PostgreSQL, Redis and S3 servers as scratch
// instances: for drills, for restores and for the lab.
//
// It promises that every server is known by process id and start time before
// it is used, that a Box can be removed from its record alone after its owner
// was killed, that Sweep finds the Boxes which nobody needs (their owner or
// workflow has ended without keeping them, or their time is up), and that
// nothing is signalled that it did not start. Servers
// listen on loopback only. It never touches a directory that it did not make,
// and never looks for processes by name.
package sandbox
