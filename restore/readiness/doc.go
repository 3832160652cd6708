// Package readiness says whether every group could be recovered now. It tells
//   - how far behind each shard and vault is;
//   - what is overdue or interrupted, which cuts were abandoned, what the checks
//     found;
//   - of everything that is wrong: the subject, the cause, since when and what to
//     do.
//
// Gather asks instances, vaults and the engine, each within a limit. Judge and
// Status only look at what was found out, by the clock of that moment.
//
// It promises that what does not answer is said, and hides nothing else. A vault
// counts as recoverable only when the whole plan to recover its newest cut can be
// made.
//
// It changes nothing and prints nothing: status, logs, metrics and pages show
// what it says.
package readiness
