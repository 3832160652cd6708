// Package tail keeps log of a server that was never archived in vaults, before
// something undoes it.
//
// It promises that
//   - what it has kept can be read back as log of its timeline, without a gap, as if
//     an archiver had written it;
//   - it leaves the order of timelines as it is: a timeline that was left does not
//     become the newest again by what is added to it;
//   - it never writes over anything, and returns an error where the source ended too early.
//
// It judges nothing and knows no protocol.
package tail
