package activities

import (
	"context"
	"errors"
	"time"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore"
	"drctl/targets"
)

// Inventory reads what a vault holds of a goal. Without a configuration the
// shards come from the cut itself: a vault is self-describing.
func Inventory(ctx context.Context, v *vault.Vault, goal restore.Goal, group *Group) (restore.Inventory, error) {
	inv := restore.Inventory{Vault: v.Region()}
	cuts, err := v.Cuts(ctx, goal.Group)
	if err != nil {
		inv.Damaged = append(inv.Damaged, err.Error())
		if len(cuts) == 0 {
			return inv, err
		}
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
		if c.SealedAt.IsZero() {
			continue
		}
		inv.Cuts = append(inv.Cuts, c)
		if group == nil && (goal.Cut == c.ID || goal.Cut == restore.Latest || !goal.At.IsZero()) {
			for _, p := range c.Shards {
				add(p.Shard, p.Kind)
			}
		}
	}
	for _, id := range ids {
		sh, err := shardInventory(ctx, v, id, kinds[id], goal.At)
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

func shardInventory(ctx context.Context, v *vault.Vault, id targets.ShardID, kind targets.Kind, at time.Time) (restore.ShardInventory, error) {
	sh := restore.ShardInventory{Shard: id, Kind: kind}
	if kind == targets.S3 {
		if at.IsZero() {
			return sh, nil // the cut names its manifest
		}
		for i, err := range v.Store().List(ctx, vault.ManifestsPrefix(id), "") {
			if err != nil {
				return sh, err
			}
			if _, stored, sum, ok := vault.ParseManifestKey(i.Key); ok {
				sh.Manifests = append(sh.Manifests, restore.Manifest{AsOf: stored, SHA256: sum})
			}
		}
		return sh, nil
	}
	var errs []error
	var err error
	if sh.Bases, err = v.Bases(ctx, id); err != nil {
		if !fail.Is(err, fail.Corrupt) {
			return sh, err
		}
		errs = append(errs, err) // the others are there
	}
	if sh.Lineages, err = stream.Load(ctx, v, id); err != nil {
		return sh, err
	}
	for _, l := range sh.Lineages {
		errs = append(errs, l.Damage...)
	}
	if !at.IsZero() && kind == targets.Redis && err == nil {
		sh.At, sh.NotAt = positionAt(ctx, v, id, sh.Lineages, at)
		if sh.NotAt != nil && fail.Retryable(sh.NotAt) {
			errs = append(errs, sh.NotAt)
		}
	}
	return sh, errors.Join(errs...)
}

// positionAt finds where a Redis shard's stream stood at an instant, by when
// the archiver received it. (PostgreSQL's log holds the times of its commits:
// there the plan only chooses enough of it.)
func positionAt(ctx context.Context, v *vault.Vault, id targets.ShardID, ls []stream.Lineage, at time.Time) (targets.Position, error) {
	l, ok := restore.Live(ls, at)
	if !ok {
		return targets.Position{}, fail.Newf(fail.NotFound, "restore: plan", id.String(), "the vault holds no stream")
	}
	off, err := stream.OffsetAt(ctx, v, id, l.ID, at)
	if err != nil {
		return targets.Position{}, err
	}
	return targets.Position{Kind: targets.Redis, Lineage: l.ID, Offset: off}, nil
}

// PlanRestore builds a plan from what the goal's vault holds now.
func (a *Activities) PlanRestore(ctx context.Context, in PlanIn) (restore.Plan, error) {
	p, err := a.plan(ctx, in)
	return p, engine.EncodeError(err)
}

func (a *Activities) plan(ctx context.Context, in PlanIn) (restore.Plan, error) {
	v, err := a.Platform.Vault(ctx, in.Goal.Vault)
	if err != nil {
		return restore.Plan{}, err
	}
	var group *Group
	if g, err := a.Platform.Group(in.Goal.Group); err == nil {
		group = &g
	}
	inv, err := Inventory(ctx, v, in.Goal, group)
	if err != nil {
		return restore.Plan{}, err
	}
	return restore.Build(in.Goal, inv, in.Now)
}
