// Package recovery is the workflow that runs a recovery plan between regions: a
// switchover, a failover or a failback.
//
// It promises that
//   - it begins a step only when restore/machine says so, and tells it all that happens;
//   - a section is one call, which is cancelled with the run and decides itself whether
//     it can still be taken back;
//   - what people are asked can be read, and what they answer is recorded with their
//     name, whether the machine took it or not;
//   - it ends with the verdict of the machine, and with every step.
//
// It touches nothing itself.
package recovery
