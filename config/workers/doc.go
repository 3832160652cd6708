// Package workers says what workers do on their hosts: where sandboxes are, with which
// programs, and how much one worker does at once. It reads no file.
package workers
