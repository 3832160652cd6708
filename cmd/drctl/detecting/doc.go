// Package detecting is drctl detection: it runs vantage points, shows what they see of the
// region that may write, and carries what people order about that. In a worker it begins a
// failover by itself where the policy says so.
//
// It promises that a failover begins by itself only from the region that takes over, only when
// nothing of detection.Decide speaks against it, and once in an epoch; and that it is recorded
// why, with the votes, before it begins.
package detecting
