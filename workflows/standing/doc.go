// Package standing keeps the runs that always stand: the archiver of every shard that
// has a log, and the observer of every group that has one.
//
// It promises that there is one of each, for the configuration as it is: what is missing is
// started, what runs for another configuration is replaced, what nobody needs any more is ended.
package standing
