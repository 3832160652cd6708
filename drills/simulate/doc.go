// Package simulate plays a recovery plan at the table, at the speed of the machine:
// the plan goes through the interpreter of the real day against simulated stores,
// vaults, guards, routes and people, with faults in every step.
//
// It promises that
//   - a schedule is a function of the plan and its seed: what was found is found again;
//   - what is judged is what the stores would do, never what the plan says of itself;
//   - these are never broken unseen: one writable primary at most, no promotion
//     without proof of silence, nothing lost that the vault held unless it was
//     accepted, clients are let go only to what takes writes, at the end the new
//     side serves or the old one does again, and from every state there is a way to
//     the end.
//
// It shows that a plan is sound, not that the programs which carry it out are: those
// need a drill. It does no I/O and reads no clock.
package simulate
