package platform

import (
	"context"
	"slices"
	"time"

	"drctl/internal/vault"
	"drctl/targets"
)

// Resolver resolves names to what this process can reach. It is built from the
// configuration, or from a vault alone on the worst day.
type Resolver interface {
	// Group returns a group's plain description.
	Group(name string) (Group, error)
	// Instance resolves a shard's instance in a region, secrets included.
	Instance(ctx context.Context, shard targets.ShardID, region string) (targets.Instance, error)
	// Regions lists the regions that have an instance of the shard, the
	// configured primary's first.
	Regions(shard targets.ShardID) []string
	// Vault opens a region's vault. Its errors are of the operation OpenOp.
	Vault(ctx context.Context, region string) (*vault.Vault, error)
	// Set opens the vaults that the group's policy writes, the given region's
	// first when it is among them.
	Set(ctx context.Context, group, region string) (vault.Set, error)
	// GroupOf names the group that a shard belongs to.
	GroupOf(shard targets.ShardID) (string, error)
}

// OpenOp is the operation of an error with which a vault could not be opened.
func OpenOp(region string) string { return "open the vault of " + region }

// Group is what a workflow, an activity or a command needs to know of a group.
type Group struct {
	Platform string  `json:"platform,omitempty"` // the platform's name, with which workflow ids begin
	Name     string  `json:"name"`
	Home     string  `json:"home"` // the region whose worker takes the cuts
	Gate     string  `json:"gate"` // shard that holds the gate
	Shards   []Shard `json:"shards"`
	Policy   Policy  `json:"policy"`
	// Queues are the task queues by region.
	Queues map[string]string `json:"queues"`
}

// Queue is the task queue of a region's workers.
func (g Group) Queue(region string) string { return g.Queues[region] }

// HasLog reports whether the group has a shard with a log.
func (g Group) HasLog() bool {
	return slices.ContainsFunc(g.Shards, func(s Shard) bool { return s.Kind.Traits().Log })
}

// Pauses reports whether cuts of the group may let the writers of Redis servers wait:
// where there are several, a moment is one for all only if they stand still.
func (g Group) Pauses() bool {
	n := 0
	for _, s := range g.Shards {
		if s.Kind == targets.Redis {
			n++
		}
	}

	return n > 1
}

// Shard is one shard of a group with the region of its configured primary.
type Shard struct {
	Shard  targets.ShardID `json:"shard"`
	Kind   targets.Kind    `json:"kind"`
	Region string          `json:"region"`
	Queue  string          `json:"queue"`
}

// Policy is the part of the configuration's policy that is followed at run time.
// Durations cross the engine in nanoseconds.
type Policy struct {
	Mode        targets.BarrierMode `json:"mode"`
	Lease       time.Duration       `json:"lease_ns"`
	Budget      time.Duration       `json:"budget_ns"`
	LockTimeout time.Duration       `json:"lock_timeout_ns"`
	Attempts    int                 `json:"attempts"`
	SealWithin  time.Duration       `json:"seal_within_ns"`
	// Unnameable says what becomes of a cut when a bucket holds objects whose keys
	// the server does not give: "refuse", or without them.
	Unnameable  string                `json:"unnameable,omitempty"`
	ChunkAge    time.Duration         `json:"chunk_age_ns"`
	ChunkSize   int                   `json:"chunk_size"`
	Vaults      []string              `json:"vaults"`
	Durability  int                   `json:"durability"`
	FullEvery   int                   `json:"full_every"`
	ReadData    string                `json:"read_data"`
	RPO         time.Duration         `json:"rpo_ns"`
	RTO         time.Duration         `json:"rto_ns"`
	Retention   vault.RetentionPolicy `json:"retention"`
	KeepCutsMin int                   `json:"keep_cuts_min"` // newest cuts kept whatever their age
	// The intervals of the schedules; 0 runs by hand only.
	CutEvery   time.Duration `json:"cut_every_ns"`
	BaseEvery  time.Duration `json:"base_every_ns"`
	CheckEvery time.Duration `json:"check_every_ns"`
}
