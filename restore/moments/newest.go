package moments

import (
	"context"
	"errors"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

const opNewest = "proven moment"

const (
	// stride is how far back a moment is looked for at once, and farthest how far at most.
	stride   = 10 * time.Minute
	farthest = 24 * time.Hour
)

// GoalOf is what a failover to a proven moment restores: the shards that its plan lays down, where
// it says.
func GoalOf(d plan.Definition) plan.Goal {
	g := plan.Goal{Group: d.Group, Vault: d.To, Into: plan.Instances, Destinations: map[string]plan.Destination{}}

	for _, s := range d.Steps {
		if s.Do == plan.OpRestore && s.Kind.Traits().Log {
			g.Shards = append(g.Shards, s.On)
			g.Destinations[s.On.String()] = s.Into
		}
	}

	return g
}

// Latest is the newest moment to which a base and an unbroken log lead.
type Latest struct {
	// Found has no evidence where the moment is a cut that is sealed already.
	Found Found
	// Run is the restore that leads to it.
	Run plan.Run
	// Asked is the newest instant that anybody observed.
	Asked    time.Time
	Warnings []string
}

// Newest is the newest moment to which a base and an unbroken log lead: one read out of the
// logs now, or a sealed cut that is newer than all of those. Not-found when there is neither.
func (p Place) Newest(ctx context.Context, want plan.Goal, g *platform.Group, now time.Time) (Latest, error) {
	cut, cutErr := newestCut(ctx, p.Vault, want)
	out := Latest{Asked: now}

	if last, err := batches.Newest(ctx, p.Vault, want.Group); err == nil && last.Ended.Before(now) {
		out.Asked = last.Ended
	}

	var errs []error

	for at := out.Asked; at.After(out.Asked.Add(-farthest)) && at.After(cut.QuiescedAt); at = at.Add(-stride) {
		want.At = at

		to, f, inv, err := p.Goal(ctx, want, g)
		if err == nil && f.Cut.QuiescedAt.After(cut.QuiescedAt) {
			out.Run, err = recovery.Build(to, plan.ModeRestore, inv, now)
		}

		if err == nil && out.Run.Hash != "" {
			out.Found = f
			return out, nil
		}

		if err != nil {
			errs = append(errs, err)
		}

		if err != nil && !fail.Is(err, fail.NotFound) || cutErr == nil && err == nil {
			break // a vault that does not tell; or the sealed cut is newer
		}
	}

	if cutErr != nil {
		return out, fail.New(fail.NotFound, opNewest, want.Group, "see when it can be: drctl cut list --window; or take --choice newest", errors.Join(append(errs, cutErr)...))
	}

	if len(errs) > 0 {
		out.Warnings = append(out.Warnings, "a newer moment could not be had: "+errs[0].Error())
	}

	var err error
	out.Found.Cut = cut
	out.Run, err = p.back(ctx, want, cut, g, now)

	return out, err
}

// Sealed is the newest cut that is sealed and has all the shards, where a base and an unbroken log lead
// there. Unlike Newest it reads no log.
func (p Place) Sealed(ctx context.Context, want plan.Goal, g *platform.Group, now time.Time) (out Latest, err error) {
	out.Asked = now

	if out.Found.Cut, err = newestCut(ctx, p.Vault, want); err == nil {
		out.Run, err = p.back(ctx, want, out.Found.Cut, g, now)
	}

	return out, err
}

// back is the restore that leads to a sealed cut.
func (p Place) back(ctx context.Context, want plan.Goal, cut targets.Cut, g *platform.Group, now time.Time) (plan.Run, error) {
	want.At, want.Cut = time.Time{}, cut.ID

	inv, err := inventory.Read(ctx, p.Vault, want, g)
	if err != nil {
		return plan.Run{}, err
	}

	return recovery.Build(want, plan.ModeRestore, inv, now)
}

// newestCut is the newest sealed cut that has all the shards.
func newestCut(ctx context.Context, v *vault.Vault, want plan.Goal) (targets.Cut, error) {
	for c, err := range v.CutsNewest(ctx, want.Group) {
		if err != nil || c.SealedAt.IsZero() {
			continue // a damaged one says nothing of the others
		}

		if !slices.ContainsFunc(want.Shards, func(id targets.ShardID) bool {
			return !slices.ContainsFunc(c.Shards, func(p targets.ShardPoint) bool { return p.Shard == id })
		}) {
			return c, nil
		}
	}

	return targets.Cut{}, fail.Newf(fail.NotFound, opNewest, want.Group, "the vault of %s holds no sealed cut of all the shards", v.Region())
}
