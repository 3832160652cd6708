// Package planting breaks servers of this host for a drill, and takes away again what it
// broke.
//
// It promises that the intent is on disk, and wherever else the caller keeps it, before
// anything is touched; that a fault is planted once, and one of which it is not known
// whether it was planted is taken away; that every fault has a longest time, after which
// whoever runs a keeper on this host takes it away, also when drill, engine and worker are
// gone; and that what could not be taken away stays on the list. It breaks nothing but the
// processes of the data directory that a fault names, or runs the fault's own programs. It
// never starts a killed primary whose group has moved.
package planting
