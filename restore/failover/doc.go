// Package failover says how a group goes from one region to another: it derives
// the complete recovery plan from the topology and the policy, and judges plans
// that people have edited.
//
// It promises that
//   - a derived plan covers every shard, service and route of the topology, or does
//     not exist, and has nothing that Lint calls an error;
//   - the same topology and policy give the same plan, with the same hash, every day;
//   - a plan with an overlay is another plan with another hash, and what was dropped
//     or skipped has a reason.
//
// It does no I/O and reads no clock.
package failover
