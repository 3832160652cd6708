// Package deadlock finds out from a session of its own that another one is in a deadlock, for those
// who may not set deadlock_timeout: the server looks for one only after a second.
//
// It promises that
//   - what waits in a circle is the statement that is ended, and no other session's;
//   - a statement is ended only while it waits for a table, and none that comes later;
//   - it costs the server nothing while nobody looks.
//
// It never locks anything.
package deadlock
