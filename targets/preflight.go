package targets

import "context"

// Preflighter is the part of a driver that can say beforehand what its user
// may not do, instead of one denied call at a time.
type Preflighter interface {
	// Preflight lists every right that the instance's user lacks for what
	// drctl does with it, and changes nothing. An error means that the
	// instance could not be asked.
	Preflight(ctx context.Context, in Instance, need Needs) ([]Lack, error)
}

// Needs say what drctl will do with an instance.
type Needs struct {
	Group string // that the shard belongs to
	// Whole asks for what is looked at once, before a platform starts, and not
	// again and again, because it takes sessions and requests of its own: settings,
	// room for the archiver, the way in for replication, each right on a bucket.
	Whole bool
	// Locks says that cuts may lock tables.
	Locks bool
	// Pause says that cuts may let a server's writers wait for some milliseconds.
	Pause bool
}

// Lack is a missing right, or with Needs.Whole a setting that stands in the way.
type Lack struct {
	What string `json:"what"` // "EXECUTE on pg_create_restore_point(text)"
	For  string `json:"for"`  // what fails without it: "cuts"
	Fix  string `json:"fix"`  // the statement that grants it, or what to change
}
