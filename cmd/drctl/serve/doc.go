// Package serve runs the workers of a process: every workflow and activity, on the
// queues of its region and on that of its host, and the sweeping of sandboxes that
// nobody needs.
package serve
