// Package epoch says which region of a group may write, and for how long it may
// believe so: one sequence of small immutable records for each group in every
// voter (the vaults' stores and a witness), each created only where none is.
//
// It promises that no two regions are live at the same instant, whatever is
// lost, late, cut off, killed or paused, as long as each voter keeps what it was
// given and creates a key once, and no two monotonic clocks of one boot differ in
// rate by more than a tenth. Wall clocks decide nothing. It rests on four rules:
//
//   - a voter takes a record only behind one of the same claim or of a lower
//     epoch, and whoever writes has read what is in front;
//   - a claim or a renewal counts with a majority of the voters, and one that
//     came too late for its place to be certain does not count;
//   - a lease is counted from before its renewal was sent;
//   - a claimer waits for every lease that its claim may have been too late for,
//     and a tenth longer, counted from when it first knew the last of them.
//
// A voter that loses or takes back what it was given breaks the promise: its
// records are never mirrored, and a copy of a vault is no voter. A machine that
// is stopped as a whole wakes up with a clock that has not moved; nothing here
// sees that. The package stops nobody: what a region does when its lease ends is
// the guard's matter.
package epoch
