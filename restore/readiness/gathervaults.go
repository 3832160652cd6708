package readiness

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sealing"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// vaultFacts are what one vault says of a group.
type vaultFacts struct {
	region string
	policy bool  // the group's policy writes to it
	err    error // it cannot be opened, or does not answer
	v      *vault.Vault
	// newest is the newest cut that it offers; its id is "" when there is none.
	newest  targets.Cut
	planErr error // why no plan can be made to recover that
	// unfit says which of the plan's bases the programs here may not be able to read.
	unfit     []string
	abandoned []inventory.AbandonedCut
	retention upkeep.Retention // the last one that did anything, or broke off
	bases     map[targets.ShardID][]targets.Artifact
	timelines map[targets.ShardID][]timeline.Timeline
	unread    []error // what could not be read of it
	late      bool    // it did not answer in time
}

// checkFacts are the checks of one region's vault.
type checkFacts struct {
	region string
	checks upkeep.History
	err    error
}

// askVaults asks every vault at once: one that is silent holds up no other.
func (s Sources) askVaults(ctx context.Context, g platform.Group, o Scope) []vaultFacts {
	regions := slices.Clone(g.Policy.Vaults)
	for _, r := range s.Regions {
		if !slices.Contains(regions, r) && !o.Shallow {
			regions = append(regions, r) // what it held before the policy changed
		}
	}
	regions = slices.DeleteFunc(regions, func(r string) bool { return !o.has(r) })
	out := make([]vaultFacts, len(regions))

	var wg sync.WaitGroup
	for i, r := range regions {
		wg.Go(func() {
			vctx, cancel := context.WithTimeout(ctx, vaultLimit)
			defer cancel()
			out[i] = vaultFacts{region: r, policy: slices.Contains(g.Policy.Vaults, r)}

			out[i].v, out[i].err = s.Platform.Vault(vctx, r)
			switch {
			case out[i].err != nil:
			case o.Shallow:
				out[i].err = out[i].v.Answers(vctx)
			default:
				s.readVault(vctx, g, &out[i])
			}

			if vctx.Err() != nil && ctx.Err() == nil {
				out[i].late = true
				out[i].unread = []error{fail.New(fail.Stalled, "ask the vault of "+r, "", "check that its endpoint is up and reachable from here",
					errors.New("it did not answer everything within "+vaultLimit.String()))}
			}
		})
	}

	wg.Wait()

	return out
}

// readVault reads what status needs of a vault. It is the one place that does.
func (s Sources) readVault(ctx context.Context, g platform.Group, f *vaultFacts) {
	unread := func(err error) {
		if err != nil {
			f.unread = append(f.unread, err)
		}
	}

	f.bases, f.timelines = map[targets.ShardID][]targets.Artifact{}, map[targets.ShardID][]timeline.Timeline{}

	var silent error // one of them says enough
	for _, sh := range g.Shards {
		if sh.Kind.Traits().Log {
			var berr, lerr error

			f.bases[sh.Shard], berr = f.v.Bases(ctx, sh.Shard)
			f.timelines[sh.Shard], lerr = stream.Outline(ctx, f.v, sh.Shard)

			for _, err := range []error{lerr, berr} {
				if err != nil && !fail.Is(err, fail.Corrupt) { // damage is the check's to report
					silent = err
				}
			}
		}
	}

	unread(silent)

	if !f.policy {
		return
	}
	newest, damaged, err := sealing.NewestCut(ctx, f.v, g.Name)

	f.unread = append(f.unread, damaged...)
	if !fail.Is(err, fail.NotFound) {
		unread(err)
	}

	f.newest = newest
	if f.retention, err = upkeep.LastRetention(ctx, f.v, g.Name); !fail.Is(err, fail.Corrupt) { // damage is the check's to report
		unread(err)
	}
	f.abandoned, err = inventory.Abandoned(ctx, f.v, g.Name, f.newest.ID)
	unread(err)

	if f.newest.ID == "" {
		return
	}
	// A cut is worth what can be recovered from it: the whole plan is made,
	// base and unbroken stream of every shard, and thrown away.
	goal := plan.Goal{Group: g.Name, Cut: f.newest.ID, Vault: f.region, Into: plan.Sandbox}
	inv, err := inventory.Read(ctx, f.v, goal, &g)

	var run plan.Run
	if err == nil {
		run, err = recovery.Build(goal, plan.ModeRestore, inv, time.Now().UTC())
	}

	if f.planErr = err; err == nil {
		f.unfit = inventory.Unfit(ctx, s.Driver, run)
	}
}

// askChecks looks at the checks of every vault, whose reports are in all of them.
func askChecks(ctx context.Context, g platform.Group, vs []vaultFacts) []checkFacts {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()

	vaults := answered(vs)
	if len(vaults) == 0 {
		return nil
	}
	out := make([]checkFacts, len(g.Policy.Vaults))

	var wg sync.WaitGroup
	for i, region := range g.Policy.Vaults {
		wg.Go(func() {
			out[i].region = region
			out[i].checks, out[i].err = upkeep.CheckHistory(ctx, vaults, g.Name, region)
		})
	}

	wg.Wait()

	return out
}

// answered are the vaults of the policy that can be read.
func answered(vs []vaultFacts) (out []*vault.Vault) {
	for _, f := range vs {
		if f.policy && f.v != nil && f.err == nil && !f.late {
			out = append(out, f.v)
		}
	}

	return out
}
