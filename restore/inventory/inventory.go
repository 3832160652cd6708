package inventory

import (
	"context"
	"errors"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sealing"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// Read reads what a vault holds of a goal: of the shards of its cut, and of those
// of the group. Without a configuration (group is nil) the shards of an instant
// come from the cuts too: a vault is self-describing. What is
// damaged or missing of a shard is in the inventory; an error is that the vault
// could not be read.
func Read(ctx context.Context, v *vault.Vault, goal plan.Goal, group *platform.Group) (recovery.Inventory, error) {
	cuts, damaged, err := goalCuts(ctx, v, goal)

	return read(ctx, v, goal, group, cuts, damaged, err)
}

// ReadMoment reads what leads to a state that was found for the goal's moment. It
// need not be sealed: whether a base and an unbroken log lead there the plan says.
func ReadMoment(ctx context.Context, v *vault.Vault, goal plan.Goal, found targets.Cut) (recovery.Inventory, error) {
	return read(ctx, v, goal, nil, []targets.Cut{found}, nil, nil)
}

func read(ctx context.Context, v *vault.Vault, goal plan.Goal, group *platform.Group, cuts []targets.Cut, damaged []error, err error) (recovery.Inventory, error) {
	inv := recovery.Inventory{Vault: v.Region()}
	for _, d := range damaged {
		inv.Damaged = append(inv.Damaged, d.Error())
	}

	if err != nil {
		return inv, err
	}
	kinds := map[targets.ShardID]targets.Kind{}
	var ids []targets.ShardID

	add := func(id targets.ShardID, k targets.Kind) {
		if _, ok := kinds[id]; !ok {
			kinds[id] = k
			ids = append(ids, id)
		}
	}
	if group != nil {
		for _, s := range group.Shards {
			add(s.Shard, s.Kind)
		}
	}

	for _, c := range cuts {
		if c.SealedAt.IsZero() && goal.Moment.IsZero() {
			continue
		}

		inv.Cuts = append(inv.Cuts, c)
		// A cut has shards that the group no longer has, and they can be recovered too.
		if group == nil || goal.At.IsZero() {
			for _, p := range c.Shards {
				add(p.Shard, p.Kind)
			}
		}
	}

	for _, id := range ids {
		var sh recovery.ShardInventory
		if goal.At.IsZero() {
			sh, err = shardToCut(ctx, v, id, kinds[id], inv.Cuts)
		} else {
			sh, err = shardInventory(ctx, v, id, kinds[id], goal.At)
		}

		if err != nil && !fail.Is(err, fail.NotFound) && !fail.Is(err, fail.Corrupt) {
			return inv, err
		}

		if err != nil {
			inv.Damaged = append(inv.Damaged, err.Error())
		}
		inv.Shards = append(inv.Shards, sh)
	}

	return inv, nil
}

// goalCuts reads the cuts that a goal is about: one, or for an instant all. An
// error is one of the vault, or the damage when nothing else can be read.
func goalCuts(ctx context.Context, v *vault.Vault, goal plan.Goal) (cuts []targets.Cut, damaged []error, err error) {
	switch {
	case !goal.At.IsZero():
		cuts, err = v.Cuts(ctx, goal.Group)
		if err != nil && len(cuts) > 0 && fail.Is(err, fail.Corrupt) {
			return cuts, []error{err}, nil
		}

		return cuts, nil, err
	case goal.Cut == plan.Latest:
		c, damaged, err := sealing.NewestCut(ctx, v, goal.Group)
		if fail.Is(err, fail.NotFound) {
			return nil, damaged, errors.Join(damaged...) // that there is none the plan says
		}

		return []targets.Cut{c}, damaged, err
	}

	c, err := v.Cut(ctx, goal.Group, goal.Cut)
	if fail.Is(err, fail.NotFound) || fail.Is(err, fail.Invalid) {
		return nil, nil, nil // likewise
	}

	return []targets.Cut{c}, nil, err
}

// shardToCut reads what leads to one cut: the newest base from which the log
// leads there, and that log alone.
func shardToCut(ctx context.Context, v *vault.Vault, id targets.ShardID, kind targets.Kind, cuts []targets.Cut) (recovery.ShardInventory, error) {
	sh := recovery.ShardInventory{Shard: id, Kind: kind}
	if len(cuts) == 0 {
		return sh, nil
	}

	p, ok := cuts[0].Point(id)
	if !ok {
		return sh, nil
	}

	if kind.Traits().Manifest {
		if p.Position.Manifest != "" {
			return sh, nil // the cut names its manifest
		}

		return shardInventory(ctx, v, id, kind, p.Position.AsOf)
	}
	trail := stream.NewTrail(v, id)

	lead, err := trail.To(ctx, p.Position)
	if err != nil {
		return sh, err
	}

	if sh.NoBase = lead.Why; lead.Base.ID != "" {
		sh.Bases = []targets.Artifact{lead.Base}
		sh.Timelines, err = trail.Load(ctx, lead)
	}

	return sh, errors.Join(append([]error{err}, lead.Damaged...)...) // the code is that of the first
}

func shardInventory(ctx context.Context, v *vault.Vault, id targets.ShardID, kind targets.Kind, at time.Time) (recovery.ShardInventory, error) {
	sh := recovery.ShardInventory{Shard: id, Kind: kind}
	if kind.Traits().Manifest {
		ms, err := v.ManifestsAround(ctx, id, at)
		for _, m := range ms {
			known := !m.AsOf.IsZero()
			if !known {
				m.AsOf = m.Stored
			}
			sh.Manifests = append(sh.Manifests, recovery.Manifest{AsOf: m.AsOf, OrBefore: !known, SHA256: m.SHA256})
		}

		return sh, err
	}
	var errs []error

	var err error
	if sh.Bases, err = v.Bases(ctx, id); err != nil {
		if !fail.Is(err, fail.Corrupt) {
			return sh, err
		}
		errs = append(errs, err) // the others are there
	}

	if sh.Timelines, err = stream.Load(ctx, v, id); err != nil {
		return sh, err
	}

	for _, l := range sh.Timelines {
		errs = append(errs, l.Damage...)
	}

	if tr := kind.Traits(); tr.Log && !tr.DatedLog && err == nil {
		sh.At, sh.NotAt = positionAt(ctx, v, sh, at)
		if sh.NotAt != nil && fail.Retryable(sh.NotAt) {
			errs = append([]error{sh.NotAt}, errs...) // its code counts
		}
	}

	return sh, errors.Join(errs...)
}

// positionAt finds where a shard's stream stood at an instant, by when the
// archiver received it. It is for stores whose log holds no times of its own.
// (Where it holds commit times, the plan only chooses enough of it.)
func positionAt(ctx context.Context, v *vault.Vault, sh recovery.ShardInventory, at time.Time) (targets.Position, error) {
	l, ok := recovery.Live(sh.Timelines, at)
	if !ok {
		return targets.Position{}, fail.Newf(fail.NotFound, "restore: plan", sh.Shard.String(), "the vault holds no stream")
	}

	off, err := stream.OffsetAt(ctx, v, sh.Shard, l.ID, at)
	if err != nil {
		return targets.Position{}, err
	}

	return targets.Position{Kind: sh.Kind, Timeline: l.ID, Offset: off}, nil
}

// Unfit says which bases of a plan the programs of this host may not be able to
// restore, and what to install: better now than in the middle of the restore.
func Unfit(ctx context.Context, driver func(targets.Kind) (targets.Driver, error), p plan.Run) []string {
	var out []string
	for _, s := range p.Steps {
		d, err := driver(s.Kind)
		if err != nil || s.Op != plan.OpRestore {
			continue
		}

		f, ok := d.(targets.Fitter)
		if !ok {
			continue
		}

		if err := f.Fits(ctx, s.Base); err != nil {
			out = append(out, "on this host: "+err.Error())
		}
	}

	return out
}
