// Package aftermath reads out of what a section of a failover has done what is known of the loss: where the new
// primaries took over, how far the old ones were known before, and what is left in doubt.
//
// It promises to say nothing that the journal and the steps do not hold. It asks no old server.
package aftermath
