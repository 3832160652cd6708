// Package trial finds out, before anything is archived, what a vault's store does
// not let its user do.
//
// It promises that one trial names everything that is not possible, and that it
// leaves nothing behind but what it says that it could not remove. It writes no
// key that anything else of a vault reads.
package trial
