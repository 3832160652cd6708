// Package supervise keeps the processes of `drctl up` running: it starts them
// in order, waits until each is ready, restarts with backoff what dies or
// stops answering, and stops them in the opposite order.
//
// It promises that
//   - one supervisor at a time owns a state directory; a second is refused
//     with the pid of the first;
//   - when the supervisor dies, however, its children die with it;
//   - a process is only ever signalled while it is a child that has not been
//     reaped, so never by a pid that has passed to somebody else;
//   - the state file is replaced as a whole at every change.
//
// It never reads flags or the environment and never exits.
package supervise
