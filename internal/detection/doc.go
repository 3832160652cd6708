// Package detection says whether a region is up, suspected, lost or unknown, and whether a
// failover may begin by itself. Everything in it is pure: votes and instants go in, a
// verdict and its reasons in words come out.
//
// It promises that a region is called lost only when
//   - as many places as are asked for have probed each of its primaries and got no answer;
//   - a standby of each of them no longer gets bytes, and none says that it does;
//   - no place sees one of them alive: one witness of life is enough against all others;
//   - all that was so without a break for as long as the configuration says, and for longer
//     after a region has come and gone;
//   - who judges reaches a majority of the voters itself.
//
// A probe that could not run is no vote. What was seen too long ago, by the judge's own
// clock, is no vote; of what was seen dead, by the clocks of both sides. A judge that was held up
// begins anew.
//
// It probes nothing, keeps nothing and starts nothing.
package detection
