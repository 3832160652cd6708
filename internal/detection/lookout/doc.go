// Package lookout is a vantage point: it looks at the primaries of the region that may write,
// and at the standbys beside it, tells the other places what it saw, hears what they saw, and
// judges.
//
// It promises that
//   - what it looks at is the region that holds the group's epoch, and without epochs the
//     one whose servers take writes;
//   - a server that answers anything is alive; a look that could not be made here, for want
//     of a password or of a file handle, is no vote;
//   - while all is well it says so once a minute and asks one voter; once anybody sees
//     anything else it looks, says and hears as often as it is told;
//   - the epochs are read as soon as something is suspected: a claim that this process makes
//     later counts the old side's lease from then.
//
// It starts nothing.
package lookout
