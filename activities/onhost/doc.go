// Package onhost lets the worker of a host do the part of a switchover that only that
// host can do: look into the old primary's data directory, stop its server, start it
// again. The rest of a section stays where the section runs.
//
// It promises that nothing is stopped or started by a worker of another host, that a
// call has ended when its context has, as far as the host can be reached, and that
// calls for one shard never overlap on its host.
package onhost
