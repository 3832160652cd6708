// Package proc knows the processes of this host: which one is meant, how to
// start one that does not outlive drctl, and how to end one with all its
// children.
//
// It promises that a process is named by its id and its start time together, so
// that nothing is signalled that has taken the id of a process which is gone,
// and that a child started here is killed by the kernel when drctl dies, however
// it dies. It never looks for processes by name alone and never reads what they
// hold. It works on Linux only.
package proc
