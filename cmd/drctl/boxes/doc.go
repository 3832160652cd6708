// Package boxes tells people about sandboxes: which there are, to which run each
// belongs, until when it stays, how its servers are reached and how it goes.
//
// It only reads. Passwords are in what Show prints and in nothing else.
package boxes
