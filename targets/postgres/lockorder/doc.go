// Package lockorder learns in which order a barrier locks the tables of a server.
//
// Locks are taken one after the other. A barrier that has one table and waits for
// another, whose writer waits for the first, is in a deadlock that only its own
// time-out ends. That writer has shown in which order the platform writes: the
// table that was waited for comes first from then on, also in later cuts. A barrier that
// locks in the order in which transactions write lets them drain.
//
// It promises that
//   - what was learned of one server changes nothing for another;
//   - the table that an error names is one of those that were asked for.
//
// It never asks a server, and keeps nothing beyond the process.
package lockorder
