package cutting

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"

	"drctl/internal/barrier"
	"drctl/internal/fail"
	"drctl/internal/moment"
	"drctl/internal/platform"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/internal/watch"
	"drctl/targets"
)

const opCut = "cut"

// Cutter takes cuts. It remembers what it has read of logs, so that the next cut reads
// what is new. It is safe for concurrent use.
type Cutter struct {
	mu      sync.Mutex
	finders map[finderKey]*moment.Finder
	// ungated are groups of mode auto whose logs have shown what belongs together, so
	// that their gate need not be held.
	ungated map[string]bool
	// still counts the cuts of a group to come that pause its Redis masters at once, because one
	// was in the way of a cut that did not.
	still map[string]int
	// unseen counts the cuts of a group in a row that have seen nobody use its gate.
	unseen map[string]int
}

// finderKey tells the finders apart: one for each group and vault.
type finderKey struct {
	group string
	vault *vault.Vault
}

// Ask is what a cut is taken of and with.
type Ask struct {
	Group platform.Group
	// Set are the group's vaults that answer.
	Set vault.Set
	// Primary finds the server of a shard that takes writes.
	Primary func(ctx context.Context, shard targets.ShardID) (targets.Instance, targets.Driver, error)
	// Observer is who observes the group in this process; nil if nobody does.
	Observer *watch.Watcher
	// Flush asks the archivers of this process to send their logs up to places. It does not wait:
	// what it returns is closed when they have, as far as they can.
	Flush func(places map[targets.ShardID]targets.Position) (done <-chan struct{})
	// Logs read the logs of the kinds that have clocks in them.
	Logs    map[targets.Kind]shardlog.Opener
	Version string // of drctl
	Log     *slog.Logger
}

// Take takes a cut. It is not sealed. Errors name the shard that is in the way; the code
// is stalled when there was no instant of an acceptable grade in the time that the
// policy gives.
func (c *Cutter) Take(ctx context.Context, a Ask) (targets.Cut, error) {
	members, without, err := a.members(ctx)
	if err != nil {
		return targets.Cut{}, err
	}

	mode := a.Group.Policy.Mode
	if mode == "" {
		mode = targets.Modes(targets.ModeAuto)
	}

	var missed error // why it was not read out of the logs
	if mode.FromLogs() {
		cut, err := c.read(ctx, a, members)
		if err == nil {
			cut.Without = without
			return cut, nil
		}

		if ctx.Err() != nil || !mode.Has(targets.ModeLocks) || a.Group.Policy.Accept == string(targets.Proven) {
			return targets.Cut{}, err
		}
		missed = err
		a.Log.InfoContext(ctx, "cut: not read out of the logs; the tables are locked instead", "group", a.Group.Name, "err", err)
	}

	cut, err := a.lock(ctx, members)
	if err != nil {
		return targets.Cut{}, errors.Join(err, missed)
	}

	cut.Without = append(without, cut.Without...)
	if missed != nil {
		cut.Why = append(cut.Why, missed.Error())
	}

	return cut, nil
}

// member is a shard that a cut is taken of.
type member struct {
	inst   targets.Instance
	driver targets.Driver
}

// members finds the primaries of all shards at once. Those that cannot be found are
// what the cut lacks, if the policy allows a cut of the rest.
func (a Ask) members(ctx context.Context) ([]member, []targets.Absent, error) {
	all := make([]member, len(a.Group.Shards))
	errs := make([]error, len(all))

	var wg sync.WaitGroup
	for i, s := range a.Group.Shards {
		wg.Go(func() { all[i].inst, all[i].driver, errs[i] = a.Primary(ctx, s.Shard) })
	}

	wg.Wait()

	if ctx.Err() != nil {
		return nil, nil, ctx.Err()
	}

	var (
		there   []member
		without []targets.Absent
	)

	for i, err := range errs {
		switch {
		case err == nil:
			there = append(there, all[i])
		case a.Group.Policy.Partial != allowPartial:
			return nil, nil, err
		default:
			without = append(without, targets.Absent{Shard: a.Group.Shards[i].Shard, Why: err.Error()})
		}
	}

	if len(there) == 0 {
		return nil, nil, fail.New(fail.CodeOf(errs[0]), opCut, a.Group.Name, "", errors.Join(errs...))
	}

	return there, without, nil
}

// allowPartial is the policy's word for a cut of the rest.
const allowPartial = "allow"

// lock takes the cut at a barrier.
func (a Ask) lock(ctx context.Context, members []member) (targets.Cut, error) {
	mode, gate, err := a.Group.Barrier()
	if err != nil {
		return targets.Cut{}, err
	}

	parties := make([]barrier.Party, len(members))
	for i, m := range members {
		if parties[i], err = m.party(); err != nil {
			return targets.Cut{}, err
		}
	}

	return barrier.Take(ctx, parties, a.options(mode, gate))
}

func (m member) party() (barrier.Party, error) {
	q, ok := m.driver.(targets.Quiescer)
	if !ok {
		return barrier.Party{}, fail.Newf(fail.Unsupported, "cut: barrier", m.inst.String(), "a store of kind %s cannot join a cut", m.inst.Kind)
	}

	return barrier.Party{Quiescer: q, Instance: m.inst}, nil
}

func (a Ask) options(mode targets.BarrierMode, gate targets.ShardID) barrier.Options {
	p := a.Group.Policy

	return barrier.Options{Group: a.Group.Name, Mode: mode, Gate: gate, Lease: p.Lease, Budget: p.Budget, LockTimeout: p.LockTimeout,
		Attempts: p.Attempts, Partial: p.Partial == allowPartial, Tool: a.tool(), Log: a.Log}
}

func (a Ask) tool() string { return "drctl " + a.Version }

// gate is the member that holds the group's gate.
func (a Ask) gate(members []member) (barrier.Party, error) {
	id, err := targets.ParseShardID(a.Group.Gate)
	if err != nil {
		return barrier.Party{}, fail.New(fail.Invalid, "cut: gate", a.Group.Name, "name the gate's shard in the group's configuration", err)
	}

	i := slices.IndexFunc(members, func(m member) bool { return m.inst.Shard == id })
	if i < 0 {
		return barrier.Party{}, fail.Newf(fail.Unavailable, "cut: gate", id.String(), "the gate's shard is not in the cut")
	}

	return members[i].party()
}

// finder is the one that remembers what was read of a group's logs in a vault.
func (c *Cutter) finder(a Ask, v *vault.Vault) *moment.Finder {
	c.mu.Lock()
	defer c.mu.Unlock()

	key := finderKey{a.Group.Name, v}
	if c.finders == nil {
		c.finders = map[finderKey]*moment.Finder{}
	}

	if c.finders[key] == nil {
		c.finders[key] = moment.New(v, a.Logs)
	}

	return c.finders[key]
}

// showsWhole notes whether the logs of a group show what belongs together, and asks.
func (c *Cutter) showsWhole(group string, shown *bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.ungated == nil {
		c.ungated = map[string]bool{}
	}

	if shown != nil {
		c.ungated[group] = *shown
	}

	return c.ungated[group]
}

// pauseAgain is for how many cuts masters are paused at once after one was in the way.
const pauseAgain = 20

// pauses reports whether the Redis masters of a group are to be paused at the first look already.
func (c *Cutter) pauses(group string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.still[group] == 0 {
		return false
	}

	c.still[group]--

	return true
}

// inTheWay notes that Redis masters did not stand still by themselves.
func (c *Cutter) inTheWay(group string) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.still == nil {
		c.still = map[string]int{}
	}
	c.still[group] = pauseAgain
}

// gateUse counts the cuts that saw nobody use the gate.
func (c *Cutter) gateUse(group string, use *targets.GateUse) *targets.GateUse {
	if use == nil {
		return nil
	}

	c.mu.Lock()
	defer c.mu.Unlock()

	if c.unseen == nil {
		c.unseen = map[string]int{}
	}

	c.unseen[group]++
	if use.Holders > 0 {
		c.unseen[group] = 0
	}

	out := *use
	out.Unseen = c.unseen[group]

	return &out
}

var errNobody = errors.New("nobody observes the group's servers in this process")
