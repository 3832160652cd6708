// Package observing is the activity that observes a group: it holds the group's
// observer in this process, and tells the engine how it does.
//
// It promises that its beats say which shards are not observed, since when and why;
// that an observer goes on for a moment when its activity ends, so that the next one
// in this process finds the same; and that it ends at once when it is cancelled or the
// worker stops. It never observes itself: package watch does.
package observing
