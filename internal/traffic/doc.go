// Package traffic moves the clients of a shard or a service from one region to
// another: what a route is, where it points, and in which order routes are held,
// cut off, pointed elsewhere and released.
//
// It promises that
//   - what a route does is read from whatever routes, never remembered, and read
//     back after every change;
//   - every call can be repeated, also after a call that was killed in the middle:
//     State is plain data for a journal, and Undo needs nothing else;
//   - what was held is let go when not all of it could be held;
//   - nobody is let through to another region than the one that is meant: Release
//     refuses a route that does not point there, and leaves it held.
//
// It never decides whether a side may be written to (that is the proof of
// silence), never takes what it cannot reach for moved, and holds no secret in a
// State, an error or a log. It knows no protocol: each driver has a package.
package traffic
