// Package atomicfile writes files that are whole and durable, or not there.
//
// It promises that a reader sees the old content or the new one, never a part,
// and that what a call has written survives a loss of power once the call has
// returned. A killed writer leaves at most a file whose name begins with that of
// the target. Errors are the operating system's, for fail.FromOS to word. It
// never changes a file in place and never overwrites in Create.
package atomicfile
