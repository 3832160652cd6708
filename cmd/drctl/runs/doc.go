// Package runs has the commands that list, show, follow and cancel what runs in the
// engine.
//
// They need no worker. Only cancel changes anything: it asks the run to end with its
// clean-up, and waits for it.
package runs
