// Package spool holds what is on its way to a store: little of it in memory, more in a temporary
// file.
//
// It promises that what is hidden leaves no name on a disk, and that Close leaves no file. It
// never encrypts.
package spool
