package detection

import (
	"time"

	"drctl/targets"
)

// Saw is what one look showed.
type Saw string

// What a look can show.
const (
	Alive Saw = "alive"
	Dead  Saw = "dead"
	// Unable says that the look could not be made. It is no vote.
	Unable Saw = "unable"
)

// Kind is how it was looked.
type Kind string

// The kinds of sightings.
const (
	// Probe: the primary itself was asked.
	Probe Kind = "probe"
	// Link: a standby was asked whether it still gets bytes of its primary.
	Link Kind = "link"
	// Lease: a majority of the voters was asked whether the region's guards still renew. It is
	// only ever dead, or no vote: a guard that renews says nothing of its servers.
	Lease Kind = "lease"
)

// Sighting is one look at one server.
type Sighting struct {
	Kind Kind `json:"kind"`
	// Shard is zero for a lease.
	Shard targets.ShardID `json:"shard,omitzero"`
	// Server names what was asked, such as orders/0@east.
	Server string `json:"server,omitempty"`
	Saw    Saw    `json:"saw"`
	Why    string `json:"why,omitempty"`
}

// Vote is what one process at one vantage point saw of a region.
type Vote struct {
	// Place is the vantage point. Processes of one place have one vote together.
	Place   string `json:"place"`
	Process string `json:"process"`
	// Region is the one that was looked at.
	Region string `json:"region"`
	// Wall is when the look began, by the clock of the place.
	Wall      time.Time  `json:"at"`
	Sightings []Sighting `json:"sightings"`
	// State is what the place held of the region by all that it had heard until then, Since when,
	// and Reasons why. Nobody counts it: each judge counts for itself.
	State   State     `json:"state,omitempty"`
	Since   time.Time `json:"since,omitzero"`
	Reasons []string  `json:"reasons,omitempty"`
}

// Heard is a vote, and when the judge heard of it.
type Heard struct {
	Vote
	// At is by the judge's monotonic clock; of a look of its own, when that began.
	At time.Duration `json:"-"`
}

// State is what is held of a region.
type State string

// The states.
const (
	Unknown   State = "unknown"
	Up        State = "up"
	Suspected State = "suspected"
	Lost      State = "lost"
)

// Rules are how it is judged.
type Rules struct {
	// Lost is for how long everything has to speak for a loss, without a break, and Up for
	// how long everything has to be well before a region that was suspected is up again.
	Lost, Up time.Duration
	// Stale is after how long what was heard is no vote any more.
	Stale time.Duration
	// Skew is how much further the clock of a place may be off before its word of a dead
	// server is no vote.
	Skew time.Duration
	// Votes is how many places have to see each primary dead.
	Votes int
	// Window is for how long it counts that a region was suspected and came back: each time
	// it is waited for once more as long as Lost, three times at most.
	Window time.Duration
}

// Look is what is known at one instant.
type Look struct {
	// Now is by the judge's monotonic clock, Wall by its wall clock.
	Now  time.Duration
	Wall time.Time
	// Region is judged, by the votes of it, and Shards are those whose primaries it has.
	Region string
	Shards []targets.ShardID
	// Votes has the newest of each process.
	Votes []Heard
	// Voters says that the judge has just reached a majority of the voters.
	Voters bool
}

// Verdict is what is held of a region, and why.
type Verdict struct {
	Region string `json:"region"`
	State  State  `json:"state"`
	// Since is when that began, by the judge's clock.
	Since time.Time `json:"since"`
	// Reasons are for people.
	Reasons []string `json:"reasons,omitempty"`
	// Votes are those that counted.
	Votes []Vote `json:"votes,omitempty"`
}

// Memory is what a judge keeps between looks. The zero value knows nothing.
type Memory struct {
	state State
	since time.Time
	last  time.Duration // of the last look
	begun bool
	// dead and alive are since when everything speaks for it, without a break.
	dead, alive   time.Duration
	dying, living bool
	flaps         []time.Duration // when it was suspected and came back
}

// State is what the last look came to; "" before the first.
func (m Memory) State() State { return m.state }
