// Package guard stands beside the servers of a region and lets them write only
// while the region holds the group's epoch.
//
// It promises that its servers are gone when the lease ends: it renews every
// third of the lease; when it cannot, or sees that another region has claimed, it
// makes them read-only, ends sessions, waits until these are gone and stops them, and
// kills by force what is left before the lease is over. It says which servers it
// answers for only after a watchman stands by: a second process that kills them
// when the guard is killed, stopped or hangs. A server that takes writes while
// another region holds the epoch is treated alike, so that a region that comes
// back is not writable. Processes are known by id and start time, and a server
// counts as gone when no process works in its directory any more.
//
// It does not help when guard and watchman are both stopped and the server is
// not, when the machine is stopped as a whole and wakes up (it is fenced then, and
// may have written in between), and while a server runs that was started before
// its guard: start the guard first. It never starts or promotes a server.
package guard
