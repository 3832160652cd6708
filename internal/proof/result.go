package proof

import (
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// Result is what a look gave.
type Result struct {
	// Cuts are what the policy's Pick wants of the best grade that there is, in
	// order of time; none if nothing was found.
	Cuts []Cut
	// Gaps are all gaps of that grade in which there is a cut, if Pick is All.
	Gaps []Span
	// Steps are the steps of clocks that were noticed, by shard.
	Steps []ShardStep
	// Obstacles say, if nothing was found or not in the best grade wanted, what
	// was in the way; the most frequent first for each grade.
	Obstacles []Obstacle
}

// ShardStep is a step of the clock of a shard's server.
type ShardStep struct {
	Shard targets.ShardID `json:"shard"`
	clock.Step
}

// Why says what kind of thing was in the way of a cut.
type Why string

// The reasons.
const (
	// BeginningUnknown: nobody observed that the log had reached the beginning of
	// the stretch, so what lies before it may be younger than any instant.
	BeginningUnknown Why = "beginning-unknown"
	// NoClockBound: Count commits have no range: too few samples, or a step.
	NoClockBound Why = "no-clock-bound"
	// NeverQuiet: between no two commits of the shard was there a time that is
	// surely after the one and before the other; the ranges are too wide.
	NeverQuiet Why = "never-quiet"
	// NotTogether: Count times the others were quiet together and this shard, or
	// master, was not yet.
	NotTogether Why = "not-together"
	// HalfDoneThen: Count gaps fell into the global transaction ID.
	HalfDoneThen Why = "half-done"
	// LogTooShort: Count gaps lie closer than the limit to the beginning of what
	// is known of tags: read from further back.
	LogTooShort Why = "log-too-short"
	// NoMarker: the master has no marker at all.
	NoMarker Why = "no-marker"
	// MarkerOutside: Count gaps cover no marker.
	MarkerOutside Why = "marker-outside"
	// NoCommonPause: several masters were marked without a pause.
	NoCommonPause Why = "no-common-pause"
	// NotHeld: nothing that the grade wants was held at any time.
	NotHeld Why = "not-held"
	// OutsideWindow: Count gaps lie outside of the window, or behind At.
	OutsideWindow Why = "outside-window"
	// NothingDeclared: the platform has neither tags nor two-phase commit nor a
	// gate, so that nothing can be proven of global transactions.
	NothingDeclared Why = "nothing-declared"
)

// NamelessID stands, in an obstacle, for a commit of a prepared transaction whose
// PREPARE was not read, so that nobody knows what it belongs to: read from further back.
const NamelessID = "(a prepared transaction without a gid)"

// Obstacle is something that was in the way.
type Obstacle struct {
	Grade Grade `json:"grade"`
	Why   Why   `json:"why"`
	// Shard is set if it was one shard or master.
	Shard targets.ShardID `json:"shard,omitzero"`
	// ID is the global transaction, if it was one.
	ID    string `json:"id,omitempty"`
	Count int    `json:"count"`
}
