package reconciliation

import (
	"context"
	"io"
	"time"

	"drctl/targets"
)

// Reconciler is a driver of stores of which every instance takes writes, so that two of
// them can go on separately.
type Reconciler interface {
	// Reconcile gives each of two instances what only the other has. Nothing is overwritten:
	// what both have with different content is a conflict, and left alone. What one had when they
	// parted and has no more was deleted there; it is deleted in the other only when that is asked
	// for. It may be repeated, and goes on where a call before has stopped. The result is there
	// with an error, too: it says how far it came.
	Reconcile(ctx context.Context, a, b targets.Instance, req Request) (Result, error)
}

// Request says what is done.
type Request struct {
	// DryRun only looks. Delete carries out the deletions that a bucket itself shows: one that
	// keeps no versions does not. Fill copies what one had, and has no more without showing
	// that it was deleted.
	DryRun, Delete, Fill bool
	// Ancestor opens the manifest of what both had when they parted; nil when nobody knows it.
	// Without it no deletion is known.
	Ancestor func(ctx context.Context) (io.ReadCloser, error)
	// Progress is told how far it is, one call at a time; it may be nil.
	Progress func(Result)
}

// The kinds of a difference.
const (
	Conflict = "conflict" // both have it, with different content; or one has changed what the other has deleted
	Deleted  = "deleted"  // one had it when they parted, and has it no more
	Copied   = "copied"   // one of them alone had it
	Failed   = "failed"   // it could not be copied
)

// Most is how many differences are listed; all are counted.
const Most = 1000

// Result is what came of it, or would.
type Result struct {
	Shard targets.ShardID `json:"shard"`
	// A and B are the regions of the two.
	A string `json:"a"`
	B string `json:"b"`
	// DryRun says that nothing was done.
	DryRun bool `json:"dry_run,omitempty"`
	// Ancestor is the cut whose manifest says what both had; "" when none is known.
	Ancestor string `json:"ancestor,omitempty"`
	// Objects are the keys that either has, Same those that both have with the same content.
	Objects int64 `json:"objects"`
	Same    int64 `json:"same"`
	// ToA and ToB are how many were copied there, and Bytes their size.
	ToA   int64 `json:"to_a"`
	ToB   int64 `json:"to_b"`
	Bytes int64 `json:"bytes"`
	// Conflicts, Deletions and Failed are counted whole, however many are listed. Deleted is
	// how many deletions were carried out.
	Conflicts int64 `json:"conflicts"`
	Deletions int64 `json:"deletions"`
	Deleted   int64 `json:"deleted"`
	Failed    int64 `json:"failed"`
	// Doubtful are those of Deletions that the bucket does not show: what is missing there was
	// deleted, or lost, or never came there.
	Doubtful int64 `json:"doubtful,omitempty"`
	// Emptied is the region that has deleted all that both had, while the other has some of it.
	// Nothing is deleted because of that.
	Emptied string `json:"emptied,omitempty"`
	// Unnamed are objects whose keys a server does not give, and NotKept copies that lack
	// something of their originals, such as tags.
	Unnamed int64 `json:"unnamed,omitempty"`
	NotKept int64 `json:"not_kept,omitempty"`
	// Differences are listed in the order of their keys: conflicts, deletions and failures, and
	// of a dry run what would be copied.
	Differences []Difference `json:"differences,omitempty"`
	// Note says why there was nothing to do.
	Note string `json:"note,omitempty"`
}

// Difference is one key in which the two differ.
type Difference struct {
	Key  string `json:"key"`
	Kind string `json:"kind"`
	// A and B are what each has; nil is nothing.
	A *State `json:"a,omitempty"`
	B *State `json:"b,omitempty"`
	// In is the region where it was deleted, or to which it was copied.
	In string `json:"in,omitempty"`
	// Done says that a deletion was carried out, or that it was copied.
	Done bool   `json:"done,omitempty"`
	Why  string `json:"why,omitempty"`
}

// State is an object as a listing shows it.
type State struct {
	ETag     string    `json:"etag"`
	Size     int64     `json:"size"` // bytes
	Modified time.Time `json:"modified"`
}
