// Package moment finds consistent moments of a group in what a vault holds, and
// proves them anew from a vault alone. It joins batches of observations and stretches of
// archived log into the look that package proof/search searches, and turns what was found into
// a cut with its evidence.
//
// It promises that
//   - a cut that it grants rests on bytes that the vault holds, and on observations
//     that it holds: Prove reads both anew, shares no code with the search, and accepts
//     exactly what the cut and its evidence say;
//   - instants of different observers are never compared: one observer has seen all
//     shards of a cut, and of each shard one run of one server;
//   - where it finds nothing it says for which shard, why, and what to do;
//   - production is not asked for anything. Who finds again and again pays for what is new.
//
// Wall clocks read wishes and name moments for people: no proof rests on one. It never
// seals: whether the cut can be recovered is for package sealing to say.
package moment
