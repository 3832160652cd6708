// Package losses says what a failover lost, as far as anybody knows, and keeps that in
// the vaults.
//
// It promises that
//   - a shard is called lost by what was seen of its old primary beyond the place where
//     the new one took over; "nothing" is said only of a log that was read to its end
//     from the old disks;
//   - what nobody saw is called unknown, with the time that it is about;
//   - a record is never changed: what the old disks show later is a record of its own,
//     which goes before what was said at once.
//
// It reads vaults and asks no server, but for what a driver reads from old disks.
package losses
