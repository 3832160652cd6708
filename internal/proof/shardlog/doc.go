// Package shardlog is the contract by which a driver reads a shard's archived log for a
// proof: bytes of the log in, in as many pieces as there are, and out of them,
// together with what was observed of the server, the stretch that a proof rests on.
//
// A driver promises that
//   - what a log says depends on where it began, on the bytes that it was fed and on the
//     observations, and not on how many pieces they came in: who reads the same
//     bytes anew gets the same stretch;
//   - whatever the log or the observations do not say makes a stretch weaker, and never
//     stronger: see Missing;
//   - bytes that cannot be the log of their place are an error, for good.
//
// It knows no archive: whoever feeds a log knows where its bytes come from.
package shardlog
