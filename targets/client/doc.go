// Package client says how a person looks into an instance: the shell command that
// starts the client of its kind.
//
// It promises that the line can be pasted into a shell whatever the names hold. It
// never runs one, and holds the password in the open: it is for the eyes of who asked.
package client
