// Package observe asks Redis servers how far their stream has come, at instants of one
// observer's monotonic clock, and keeps their writers waiting for a moment.
//
// It promises that
//   - what an observation says was so at some instant between its T0 and its T1, and
//     all the time where it says that the stream stood still: the server was asked
//     before and after, and said the same;
//   - all that one session says is of one run of one server: every answer names it;
//   - a pause ends by itself, whoever dies, and is not begun while somebody else's is known. It is
//     not ended before its time where it might be somebody else's too.
//
// It never writes, and never retries. A server that does not number its writes, because
// it has neither a replica nor a backlog, is refused.
//
// # Why nothing has to be written
//
// Redis runs one command at a time. INFO is one, and tells what the server has
// numbered by then: all that was executed before it, nothing that is executed later. So the
// offset is a place between two commands, or two transactions, of the stream.
package observe
