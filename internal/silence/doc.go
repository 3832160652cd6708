// Package silence says what shows that a server takes no more writes, and checks it.
//
// It promises that Check lets a shard be promoted only when every other server
// of it that could write has a proof of its own, made for the very epoch that the
// promotion is of: a fencing hook that succeeded, a guard whose lease is over, a
// server that was stopped in order, or a statement that a person has signed. It is pure: what is proven is in the values, and who checks needs the keys alone.
//
// A proof is worth what stands behind it. A hook is believed when it says that
// it has succeeded. A guard is believed to end its servers with its lease; on a machine that was stopped
// as a whole, or whose guard and watchman were killed at one instant, nobody does.
// A statement is a person's word.
package silence
