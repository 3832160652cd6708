// Package recovery is the part of the configuration that says how a group comes back, how
// the loss of a region is detected, and who decides about a failover.
package recovery
