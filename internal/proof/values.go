package proof

import (
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// Kind is what a record of the log does.
type Kind string

// The kinds. Aborts of ordinary transactions say nothing and are left out.
const (
	Commit         Kind = "commit"
	Prepare        Kind = "prepare"
	CommitPrepared Kind = "commit-prepared"
	AbortPrepared  Kind = "abort-prepared"
)

// Record is one record of a shard's log. It takes the bytes [Start, End).
type Record struct {
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
	// Stamp is the server's clock when the transaction committed or was prepared.
	Stamp clock.Stamp `json:"stamp"`
	Kind  Kind        `json:"kind"`
	// GID names the prepared transaction; empty for a Commit, and for a
	// CommitPrepared whose PREPARE is older than the log that was read.
	GID string `json:"gid,omitempty"`
	// Tags are the contents of the transaction's drctl/global messages. A
	// Prepare and its CommitPrepared both have those of their transaction.
	Tags []string `json:"tags,omitempty"`
}

// Stretch is a part [From, To) of one shard's log, on one timeline of one server.
// All instants of a look are of one observer.
type Stretch struct {
	Shard    targets.ShardID
	Timeline string
	From, To uint64
	// Records are all of [From, To), in the order of the log.
	Records []Record
	// Reached is an instant at which everything before From had surely been
	// flushed, or received by the archiver: a place that was only inserted can
	// be written anew after a crash. Nil: not known, and nothing can be proven.
	Reached *clock.Instant
	// Ended is an instant at which the log surely did not reach beyond To (its
	// insert position was asked for after it). Nil: not observed.
	Ended *clock.Instant
	// Earlier are the records before From that have a tag or a GID, of all that
	// was placed since KnownFrom.
	Earlier []Record
	// KnownFrom is an instant since which every record with a tag or a GID is
	// in Earlier or in Records, with all tags of its transaction: the log has to be
	// read from before the oldest transaction that was open then, because a message may lie
	// long before its commit. It may be later than Reached. Nil: not known, and nothing
	// can be proven of global transactions; a cut is closed all the same.
	KnownFrom *clock.Instant
	// Known is the place of which KnownFrom tells: all before it had been flushed then, and
	// of all behind it tags and GIDs are known. 0: not known.
	Known uint64
	// Samples are of the server's clock, from before Reached to after the end.
	Samples []clock.Sample
}

// Span is a time from From to To.
type Span struct {
	From clock.Instant `json:"from"`
	To   clock.Instant `json:"to"`
}

// Width is how long the span is, in nanoseconds.
func (s Span) Width() int64 { return int64(s.To - s.From) }

// Marker is a place in the stream of a Redis master. If it was written without a
// pause it was executed at an instant in the span (sent, answered). Under a pause
// the stream stood there during the whole span (the pause was answered before it
// began, and can have ended only after it).
type Marker struct {
	Timeline string `json:"timeline"`
	Position uint64 `json:"position"`
	Span
}

// Master is a Redis master of the group with its markers, in order of time.
type Master struct {
	Shard   targets.ShardID
	Paused  bool
	Markers []Marker
}

// Hold is a time in which something surely kept all writers of global
// transactions away: the gate was held, or tables were locked on all shards.
type Hold struct {
	By string `json:"by"` // ByGate or ByLocks
	Span
}

// Who holds.
const (
	ByGate  = "gate"
	ByLocks = "locks"
)

// Look is what there is to look at: all shards of the group whose log is to be cut.
type Look struct {
	// Observer names the observer that all instants are of.
	Observer  string
	Stretches []Stretch
	Masters   []Master
	Holds     []Hold
	// Base is an earlier cut whose list of what is broken this look goes on with; nil for none.
	Base *Base
}

// Base is a cut of the same shards that left nothing half done but what it called
// broken, and the records of that.
type Base struct {
	// Places are where it cut each shard of the look: not before its Known, and not behind
	// its From, so that all that was placed since is in the look with its tags.
	Places []Place `json:"places"`
	Kept   []Kept  `json:"kept,omitempty"`
}

// Place is a place in the log of a shard.
type Place struct {
	Shard    targets.ShardID `json:"shard"`
	Timeline string          `json:"timeline"`
	Position uint64          `json:"position"`
}

// Kept is a global transaction that is broken at a cut, with all its records before it
// that were ever read: a later look need not read them again.
type Kept struct {
	ID       string       `json:"id"`
	TwoPhase bool         `json:"two_phase,omitempty"`
	Records  []KeptRecord `json:"records"` // by shard, in the order of the log
}

// KeptRecord is a record of a shard's log.
type KeptRecord struct {
	Shard targets.ShardID `json:"shard"`
	Record
}

// Grade is how much is proven of a cut.
type Grade string

// The grades, best first.
const (
	// Proven: causally closed, and whole in all tagged, two-phase or gated
	// global transactions but those that Broken lists or that began before the log was known.
	Proven Grade = "proven"
	// Locked: causally closed, and taken while tables were locked.
	Locked Grade = "locked"
	// Ordered: causally closed; nothing is known about global transactions, or
	// Half lists those that it cuts in two.
	Ordered Grade = "ordered"
)

// Pick is which of several instants is wanted.
type Pick string

// The picks.
const (
	Widest  Pick = "widest"  // the one in the widest gap; also ""
	Before  Pick = "before"  // the last one at or before At
	Nearest Pick = "nearest" // the one nearest to At
	All     Pick = "all"     // as many as Most says, in order of time
)

// Policy is what is wanted.
type Policy struct {
	// Grades are acceptable, the best first; none means Proven alone.
	Grades []Grade
	// Tagged, TwoPhase, Gated: how the platform makes its global transactions
	// known. A Proven cut is whole by each that is set; without any there is none.
	Tagged, TwoPhase, Gated bool
	// Limit is how long a global transaction may be half done before it counts as
	// broken and holds up no cut any more, in nanoseconds. Positive if Tagged or
	// TwoPhase; 0 elsewhere means that nothing is called broken.
	Limit int64
	// GIDs maps gids to global transactions: a regular expression whose first
	// group, or whole match, names the transaction; empty: equal gids.
	GIDs string
	// Window limits the instants, if it is not nil.
	Window *Span
	Pick   Pick
	At     clock.Instant
	// Most limits how many instants All returns; 0 means 1000.
	Most int
	// Drift of the servers' clocks in parts in a million; 0 means clock.Drift.
	Drift int64
}

// Cut is a quiet instant with its evidence.
type Cut struct {
	Grade    Grade         `json:"grade"`
	Observer string        `json:"observer"`
	T        clock.Instant `json:"t"`
	// Gap is the quiet gap around T: every instant strictly within it is the
	// same cut, as far as the logs of the shards go.
	Gap    Span        `json:"gap"`
	Shards []ShardCut  `json:"shards"`
	Redis  []MasterCut `json:"redis,omitempty"`
	Hold   *Hold       `json:"hold,omitempty"`
	// Tags and Groups count the global transactions in the cut that were seen by
	// tag and by gid.
	Tags   int `json:"tags"`
	Groups int `json:"groups"`
	// InDoubt says what recovery does with each transaction that is prepared.
	// One that is not listed was prepared before the log was known: leave it.
	InDoubt []Resolution `json:"in_doubt,omitempty"`
	// Broken were half done for longer than the limit, Half for less (only in a
	// cut that is not Proven). Of very many broken ones the MostBroken that are so for the shortest
	// time are listed, and More counts the rest.
	Broken []HalfDone `json:"broken,omitempty"`
	More   int        `json:"more,omitempty"`
	Half   []HalfDone `json:"half,omitempty"`
	// Complete says since when Broken is complete: of what is broken, all of which the
	// first part in the cut was committed later is listed. Nil and Based: since the list of the look's Base
	// is. Nil without: nothing is promised of the list.
	Complete *clock.Instant `json:"complete,omitempty"`
	Based    bool           `json:"based,omitempty"`
	// Kept are the records of what Broken lists, for the Base of a later look.
	Kept []Kept `json:"kept,omitempty"`
}

// MostBroken is how many broken global transactions a cut lists.
const MostBroken = 1000

// ShardCut is the place of a cut in a shard's log: recovery stops before Position.
type ShardCut struct {
	Shard    targets.ShardID `json:"shard"`
	Timeline string          `json:"timeline"`
	Position uint64          `json:"position"`
	// Last is the commit in the cut that can have been stamped last; nil if the
	// stretch has none before the cut, and Reached is why it is closed.
	Last *Edge `json:"last,omitempty"`
	// Next is the first commit that is not in the cut; nil if the log was
	// observed to end at Position, at Ended.
	Next    *Edge          `json:"next,omitempty"`
	Reached clock.Instant  `json:"reached"`
	Ended   *clock.Instant `json:"ended,omitempty"`
}

// Edge is a commit next to a cut, with its stamp and when that was taken.
type Edge struct {
	Position uint64      `json:"position"`
	Stamp    clock.Stamp `json:"stamp"`
	clock.Range
}

// MasterCut is the place of a cut in a master's stream.
type MasterCut struct {
	Shard  targets.ShardID `json:"shard"`
	Paused bool            `json:"paused"`
	Marker
}

// Action is what recovery does with a prepared transaction.
type Action string

// The actions.
const (
	// CommitIt: a part of its global transaction is committed in the cut.
	CommitIt Action = "commit"
	// RollBackIt: none is, and that is sure.
	RollBackIt Action = "roll-back"
	// LeaveIt: whether one is cannot be known from the log that was read.
	LeaveIt Action = "leave"
)

// Resolution is what becomes of a transaction that is prepared at the cut.
type Resolution struct {
	Shard    targets.ShardID `json:"shard"`
	GID      string          `json:"gid"`
	Group    string          `json:"group"`
	Action   Action          `json:"action"`
	Prepared uint64          `json:"prepared"` // where its record begins
}

// HalfDone is a global transaction of which a part is in a cut and a part is not.
type HalfDone struct {
	ID       string `json:"id"`
	TwoPhase bool   `json:"two_phase,omitempty"`
	// Done and Want count its local transactions; Want is 0 if not known.
	Done int `json:"done"`
	Want int `json:"want,omitempty"`
	// Shards have a part of it in the cut.
	Shards []targets.ShardID `json:"shards"`
	// Since is an instant at which a part of it was surely done.
	Since clock.Instant `json:"since"`
}
