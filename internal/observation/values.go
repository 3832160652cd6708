package observation

import (
	"context"
	"time"

	"drctl/internal/proof/clock"
	"drctl/targets"
)

// Observation is what a server said, in one answer, of its clock and of its log.
type Observation struct {
	// Sample has no Stamp where the records of the log have none (Redis).
	clock.Sample
	// Timeline that the server wrote, and offsets in it: see targets.Position.
	Timeline string
	// Flushed is up to where its log cannot change any more: everything before it was
	// written for good at T1. Inserted is how far it had come at most at T0: nothing
	// had a place at or behind it. They are one for Redis.
	Flushed, Inserted uint64
	// Paused says that the server took no writes from T0 to T1, and the log stood
	// at Inserted all the time (Redis, under CLIENT PAUSE).
	Paused bool
}

// Seen is what was seen of one shard, in order of T0.
type Seen struct {
	Shard targets.ShardID
	Kind  targets.Kind
	// Server names the run of the server that answered (PostgreSQL: when its
	// postmaster started; Redis: its run id). Two that were promoted from one
	// timeline, each by itself, are told apart by it.
	Server       string
	Observations []Observation
	// Trouble says why there are none, or fewer.
	Trouble string
}

// The limits of a batch. One that exceeds them is refused by whoever writes and reads.
const (
	// MaxTook is how long a batch may take by the wall clock: so that those of a
	// given time are found by their names.
	MaxTook = time.Minute
	// MaxShards and MaxObservations are how many it may hold of each.
	MaxShards       = 1 << 15
	MaxObservations = 1 << 17
	// MaxHoles is how many a batch names.
	MaxHoles = 64
)

// Hole is a time, by the observer's wall clock, of which it could not tell enough of a shard.
type Hole struct {
	Shard    targets.ShardID
	From, To time.Time
	// Least and Most bound by how much the clock of the shard's server was stepped forward then;
	// both are 0 where the server was not asked.
	Least, Most time.Duration
	// Why it was not asked.
	Why string
}

// Stepped reports whether it is a step of a clock.
func (h Hole) Stepped() bool { return h.Least != 0 || h.Most != 0 }

// Batch is what one observer saw of a group for some time.
type Batch struct {
	Group string
	// Observer names one start of one observer: instants of another have nothing in
	// common with its own.
	Observer string
	// Queue is the task queue of the process that the observer lives in, so that
	// a cut can be taken there; empty if nobody can ask it for one.
	Queue string
	// Since and Until enclose all instants, Began and Ended are what the observer's
	// wall clock showed then: at most MaxTook apart, and Ended is not before Began.
	Since, Until clock.Instant
	Began, Ended time.Time
	// Shards are sorted. A server that changed meanwhile makes two of a shard, in
	// order of time.
	Shards []Seen
	// Holes are all that the observer has noticed from Noted until Ended, the last at the end: so
	// whoever reads one batch knows of those before it. A zero Noted is of an observer that
	// did not look for them.
	Holes []Hole
	Noted time.Time
}

// Session asks one server again and again over one open connection. It is used by
// one goroutine at a time.
type Session interface {
	// Observe asks a few times and keeps the answer whose instant is known best.
	// The error of a server that is no primary has code conflict; after any
	// error the session is of no more use.
	Observe(ctx context.Context, by *Observer) (Observation, error)
	// Server names the run of the server: see Seen.
	Server() string
	Close()
}

// Observable is the part of a driver whose log can be cut by a proof.
type Observable interface {
	// Session connects to a primary. Its privileges are those that archiving needs.
	Session(ctx context.Context, in targets.Instance) (Session, error)
}

// Pauser is a Session that can keep its server's writers waiting for a moment.
type Pauser interface {
	// Pause makes the server let writes wait, for at most the lease, whoever dies.
	// It fails with unsupported where it cannot.
	Pause(ctx context.Context, lease time.Duration) error
	// Resume lets them go on.
	Resume(ctx context.Context) error
}
