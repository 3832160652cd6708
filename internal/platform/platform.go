package platform

import (
	"context"
	"errors"
	"slices"
	"time"

	"drctl/internal/fail"
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

// ErrNoKey is in the error of a vault that cannot be opened because the platform's
// key is not there: for a new platform nobody has made it yet.
var ErrNoKey = errors.New("it is not there")

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

// Barrier is how writers are stopped where the policy wants that, and the shard that
// holds the gate, if it is used.
func (g Group) Barrier() (targets.BarrierMode, targets.ShardID, error) {
	if !g.Policy.Mode.Has(targets.ModeGate) && (!g.Policy.Mode.Has(targets.ModeAuto) || g.Gate == "") {
		return targets.Share, targets.ShardID{}, nil
	}

	gate, err := targets.ParseShardID(g.Gate)
	if err != nil {
		return "", gate, fail.New(fail.Invalid, "cut: barrier", g.Name, "name the gate's shard in the group's configuration", err)
	}

	return targets.Gate, gate, nil
}

// The words of the policy for masters that are paused for every cut, and for none.
const (
	RedisPause = "pause"
	RedisMark  = "mark"
)

// HasLog reports whether the group has a shard with a log.
func (g Group) HasLog() bool {
	return slices.ContainsFunc(g.Shards, func(s Shard) bool { return s.Kind.Traits().Log })
}

// Pauses reports whether cuts of the group may let the writers of Redis servers wait:
// where there are several, a moment is one for all only if they stand still.
func (g Group) Pauses() bool {
	masters := 0
	for _, s := range g.Shards {
		if s.Kind == targets.Redis {
			masters++
		}
	}

	switch g.Policy.Redis {
	case RedisPause:
		return masters > 0
	case RedisMark:
		return false
	}

	return masters > 1
}

// Locks reports whether cuts of the group may lock tables: always, or where none can be read out of the logs.
func (g Group) Locks() bool {
	m := g.Policy.Mode
	return m.Has(targets.ModeLocks) && (!m.FromLogs() || g.Policy.Accept != string(targets.Proven))
}

// Needs are what drctl does with the servers of the group; whole asks for what is looked at once.
func (g Group) Needs(whole bool) targets.Needs {
	return targets.Needs{Group: g.Name, Whole: whole, Locks: g.Locks(), Pause: g.Pauses()}
}

// Shard is one shard of a group with the region of its configured primary.
type Shard struct {
	Shard  targets.ShardID `json:"shard"`
	Kind   targets.Kind    `json:"kind"`
	Region string          `json:"region"`
	Queue  string          `json:"queue"`
	// Host is that of the configured primary, where one is named: bases are taken there.
	Host string `json:"host,omitempty"`
}

// Policy is the part of the configuration's policy that is followed at run time.
// Durations cross the engine in nanoseconds.
type Policy struct {
	// Mode is how global transactions make themselves known.
	Mode targets.Modes `json:"mode"`
	// Accept is the least grade that counts; Look is how long a better one is looked for.
	Accept string        `json:"accept,omitempty"`
	Look   time.Duration `json:"look_ns,omitempty"`
	// HalfDone is how long a global transaction may be half done before it is broken.
	HalfDone time.Duration `json:"half_done_ns,omitempty"`
	// GIDs maps the ids of prepared transactions to global ones; "" means equal.
	GIDs string `json:"gids,omitempty"`
	// Redis says whether masters are paused for a cut: "auto", "mark", "pause".
	Redis string `json:"redis,omitempty"`
	// Partial says what becomes of a cut while a shard is down: "refuse", "allow".
	Partial     string        `json:"partial,omitempty"`
	Lease       time.Duration `json:"lease_ns"`
	Budget      time.Duration `json:"budget_ns"`
	LockTimeout time.Duration `json:"lock_timeout_ns"`
	Attempts    int           `json:"attempts"`
	SealWithin  time.Duration `json:"seal_within_ns"`
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
