package plan

import (
	"slices"
	"time"

	"drctl/targets"
)

// Latest asks for the newest sealed cut.
const Latest = "latest"

// Goal is what somebody wants back.
type Goal struct {
	Group string `json:"group"`
	// Shards limits the goal; empty means every shard of the cut.
	Shards []targets.ShardID `json:"shards,omitempty"`
	// Cut is Latest or the id of a sealed cut. Exactly one of Cut and At counts.
	Cut string `json:"cut,omitempty"`
	// At is a wall-clock instant. Shards are restored to it each by its own
	// log: a point in time is not consistent across shards.
	At time.Time `json:"at,omitzero"`
	// Moment is the instant that was asked for, when Cut was not taken then but found
	// afterwards: the newest state at or before it that the logs prove to be consistent.
	Moment time.Time `json:"moment,omitzero"`
	// Vault is the region whose vault alone is read.
	Vault string `json:"vault"`
	// Into is Sandbox or Instances.
	Into string `json:"into"`
	// Destinations are the data directories or buckets of Instances, by shard.
	Destinations map[string]Destination `json:"destinations,omitempty"`
	// Order lists targets in the order in which they come back; targets that
	// are not listed come last, together.
	Order []string `json:"order,omitempty"`
	// Delta allows existing directories to be rewritten in place.
	Delta bool `json:"delta,omitempty"`
}

// Where a plan restores to.
const (
	Sandbox   = "sandbox"
	Instances = "instances"
)

// Destination is where one shard is restored to when it is not a sandbox.
type Destination struct {
	Region  string `json:"region"`
	Address string `json:"address"`
	// Host is where DataDir is, and who lays it down; "" is any worker of the region.
	Host    string `json:"host,omitempty"`
	DataDir string `json:"data_dir,omitempty"`
	Bucket  string `json:"bucket,omitempty"`
}

// Op is what a step does.
type Op string

// The operations of a restore plan.
const (
	OpRestore Op = "restore" // base + stream up to the point
	OpVerify  Op = "verify"  // the driver's checks
)

// Step is one operation on one shard, bound to a base and a position.
type Step struct {
	ID    string           `json:"id"`
	Op    Op               `json:"op"`
	Shard targets.ShardID  `json:"shard"`
	Kind  targets.Kind     `json:"kind"`
	Needs []string         `json:"needs,omitempty"` // see StepDef.Needs
	Base  targets.Artifact `json:"base,omitzero"`
	Point targets.Position `json:"point,omitzero"`
	Path  []targets.Span   `json:"path,omitempty"`
	Until time.Time        `json:"until,omitzero"`
	// InDoubt are the transactions that are prepared at the point, and what becomes
	// of them; InDoubtSince is from when on, by the server's clock, the list is whole.
	InDoubt      []targets.InDoubt `json:"in_doubt,omitempty"`
	InDoubtSince time.Time         `json:"in_doubt_since,omitzero"`
	// Into is empty for a sandbox.
	Into Destination `json:"into,omitzero"`
	// BaseBytes (of an object store: of its objects) and StreamBytes are what the
	// step reads, before compression. Chunks is in how many pieces the stream is
	// stored. Objects is 0 when nobody counted them.
	BaseBytes   int64         `json:"base_bytes"`
	StreamBytes int64         `json:"stream_bytes"`
	Chunks      int           `json:"chunks,omitempty"`
	Objects     int64         `json:"objects,omitempty"`
	Limit       time.Duration `json:"limit_ns"`
	// Warnings of a verification say what the cut lacks of the shard.
	Warnings []string `json:"warnings,omitempty"`
}

// Fingerprint identifies what a step restores and where to.
func (s Step) Fingerprint() string {
	all := []any{s.Shard, s.Base, s.Point, s.Path, s.Until, s.Into}
	if len(s.InDoubt) > 0 { // without any it is as it was before there were any
		all = append(all, s.InDoubt)
	}

	return sum(all)
}

// Run is a definition bound to what a vault holds: how a goal is reached today.
type Run struct {
	ID string `json:"id"`
	// Definition is the hash of the definition that was bound.
	Definition string      `json:"definition,omitempty"`
	Goal       Goal        `json:"goal"`
	Cut        targets.Cut `json:"cut,omitzero"`
	Steps      []Step      `json:"steps"`
	Created    time.Time   `json:"created"`
	// Warnings are shown with the plan.
	Warnings []string `json:"warnings,omitempty"`
	// Hash is the SHA-256 of the plan's JSON with Hash empty.
	Hash string `json:"hash"`
}

// Bytes is what the whole plan reads, before compression.
func (p Run) Bytes() (n int64) {
	for _, s := range p.Steps {
		n += s.BaseBytes + s.StreamBytes
	}

	return n
}

// Warn adds warnings. They are part of what is shown, and so of the hash.
func (p Run) Warn(warnings ...string) Run {
	if len(warnings) == 0 {
		return p
	}
	p.Warnings = append(slices.Clone(p.Warnings), warnings...)
	p.Hash = p.Sum()

	return p
}

// Sum computes the hash of a plan's content.
func (p Run) Sum() string {
	p.Hash = ""

	return sum(p)
}
