// Package clock says when a stamp of a server's clock was taken, by the clock of
// an observer, as a range that surely holds that instant.
//
// # Samples
//
// An observer reads its own monotonic clock (T0), asks the server for its
// clock, and reads its own again (T1). The server showed Stamp at some instant
// in [T0, T1]. Nothing is assumed about NTP, time zones or the way of the packets.
//
// # From a stamp to a range
//
// A stamp x was taken between two neighbouring samples a and b. Reckoned from a,
// it was taken x-a.Stamp after a; reckoned from b, b.Stamp-x before b; each
// give or take the drift between the samples and the grain of a stamp. The range
// is the hull of both, not what they have in common: if the clock was stepped
// between a and b, stamps before the step go by a and stamps after it by b, and
// a step that is smaller than the width of the samples cannot be noticed. The
// hull is right for one step of any size, and for a slew of any speed in one
// direction. A stamp that the clock can have shown at several times (it was
// stepped back) gets the hull of all of them. So samples that lie close
// together give narrow ranges; those of one a second cost half a millisecond.
// A slow answer widens the ranges on both sides of it: ask a few times in a row
// and keep the Best. Wide samples are not left out here, because that would
// stretch what is assumed over two pauses. Of samples that overlap one is kept.
//
// A step that is noticed (two neighbours disagree by more than their widths and
// the drift) makes all stamps that may be of that time unbounded: where one was,
// more may have been. Steps says from when to when.
//
// A stamp has a range only if samples lie on both sides of it.
//
// # What is assumed
//
//   - between two neighbouring samples, the server's clock moves against the
//     observer's by at most Drift parts in a million, and besides that makes at
//     most one step or slews in one direction. (There and back between two
//     samples is not seen. A fast slew, as chrony may do, in one direction is.)
//   - a stamp that is asked about was taken between the first and the last
//     sample: keep samples from well before the log in question to after it.
//   - stamps are readings of the clock that was sampled, cut off at GrainNs.
//
// # Observers, and the clock on the wall
//
// Instants are nanoseconds of one observer's monotonic clock since its epoch.
// Every start of an observer is another observer, with another name and another
// epoch: instants of two must never be compared. They are related by the same
// exchange: one asks the other for its instant as if it were a server, and Relay
// writes the samples of the far one in the instants of the near one; the
// widths add up. So a worker that is near a server samples it, and the widths
// stay narrow across an ocean but for the one exchange between the workers.
// Other instants of a far observer go through At as well: the Latest for what has
// to be before a cut, the Earliest for what has to be after it.
// An observer that is gone can be related only by samples that were kept from
// when it lived; an observer that started after it was gone cannot.
//
// Nobody asks for an instant of a monotonic clock. Every sample holds what the
// observer's wall clock showed at T1, and AtWall finds the instant for a time on
// it. That is only how a wish is read: which moment is meant by "12:03:07" is as
// good as that wall clock was then. No proof rests on it.
//
// The package is pure: it reads no clock and does no I/O.
package clock
