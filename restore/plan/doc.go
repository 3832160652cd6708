// Package plan holds recovery plans as data: what is to be recovered (Goal),
// the steps by which a group comes back (Run), and what each step did.
//
// It promises that
//   - a plan is plain data with a hash over all of it;
//   - the hash changes with every value that is shown;
//   - a step from elsewhere is checked before any of its values becomes a path or
//     an argument.
//
// It does no I/O and knows no clock.
package plan
