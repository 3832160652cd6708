// Package sandbox keeps scratch instances: a Box is a directory with a record
// of all servers that run in it, for drills, for restores and for the lab.
//
// It promises that a Box can be removed from its record alone after its owner
// was killed, that Sweep finds the Boxes which nobody needs (their owner or
// workflow has ended without keeping them, or their time is up), and that
// nothing is signalled that does not work in the Box. It never touches a
// directory that it did not make, and never looks for processes by name.
package sandbox
