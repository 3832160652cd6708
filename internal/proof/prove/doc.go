// Package prove checks a cut that somebody claims to have proven, from the logs
// and the samples alone, and says in words what it saw.
//
// It promises to share no code with the prover but the values: the
// search is not imported, and no function of the packages of a proof is called (a
// test looks). It computes everything again in the plainest way, without indices, and takes as long
// as that takes. A claim is accepted only if every condition of the theorem
// in internal/proof holds and everything that it says is as it says.
//
// It never finds another cut, and never mends a claim.
package prove
