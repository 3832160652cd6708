package targets

// Traits are the properties of a kind of store. Code outside the drivers asks
// for a property, and not for the name of the kind, so that a new kind needs
// no change there. A driver has the optional interface that a trait names; the
// conformance suite checks that the two agree.
type Traits struct {
	// Name is the kind in words.
	Name string
	// Log: it keeps a log, which is archived above bases, and a point is a place
	// in it. The driver is a Follower.
	Log bool
	// Manifest: it keeps objects, and a point is a manifest of them. The driver
	// is a Snapshotter.
	Manifest bool
	// Quiesce: it joins cuts. The driver is a Quiescer.
	Quiesce bool
	// Locks: while a cut is taken its writers wait for locks, so that how long is
	// worth measuring.
	Locks bool
	// Gate: a shard can hold the gate of a group.
	Gate bool
	// DatedLog: the log holds the time of every commit, so that a replay finds an
	// instant by itself.
	DatedLog bool
	// Query: it answers assertions.
	Query bool
	// Rows: an answer is rows of columns, which sums and checks of objects need.
	Rows bool
	// Files: a restore into an instance lays down files and leaves the server
	// stopped.
	Files bool
	// Subscribes: a restored server can take part in replication by itself, until
	// that is switched off.
	Subscribes bool
}

var traits = map[Kind]Traits{
	Postgres: {Name: "PostgreSQL", Log: true, Quiesce: true, Locks: true, Gate: true, DatedLog: true, Query: true, Rows: true, Files: true, Subscribes: true},
	Redis:    {Name: "Redis", Log: true, Quiesce: true, Query: true, Files: true},
	S3:       {Name: "S3", Manifest: true, Quiesce: true},
}

// Traits returns the properties of the kind. One that this version does not
// know has none, so ask a record that another version may have written for the
// property whose absence is safe.
func (k Kind) Traits() Traits { return traits[k] }
