// Package platform says what a worker or a command can reach, and by which
// names: the groups of shards with their policies, the instances and the vaults
// of every region.
//
// It promises that the values are plain: a Group crosses the engine as JSON and
// holds no secret. It reads no configuration and opens nothing itself: whoever
// starts a process hands in a Resolver, made from the configuration, or from one
// vault alone on the worst day.
package platform
