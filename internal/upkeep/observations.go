package upkeep

import (
	"context"
	"time"

	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/vault"
)

// observationsUntil is the instant before which observations go: nothing of that
// time is kept that could be proven with them. They are kept from a grace
// before the oldest kept cut of the group and the oldest kept base of its shards,
// because a proof looks back. Zero when none may go.
func observationsUntil(inv vault.Inventory, plan vault.RetentionPlan) time.Time {
	if plan.OldestCut.IsZero() {
		return time.Time{}
	}
	until := plan.OldestCut

	kept := map[string]bool{}
	for _, s := range plan.Shards {
		for _, b := range s.KeptBases {
			kept[b.ID] = true
		}
	}

	for _, s := range inv.Shards {
		for _, b := range s.Bases {
			if kept[b.ID] && b.Started.Before(until) {
				until = b.Started
			}
		}
	}

	return until.Add(-plan.Policy.Grace)
}

// dropObservations removes the batches of a group that ended before an instant, and
// returns how many. Names that no observer writes are left: a check tells of them.
func dropObservations(ctx context.Context, v *vault.Vault, g platform.Group, until time.Time, dry bool) (n int, err error) {
	all, err := batches.List(ctx, v, g.Name, time.Time{}, until)
	if err != nil {
		return 0, err
	}

	for _, o := range all {
		if !o.Ended.Before(until) {
			continue
		}

		if !dry {
			if err := v.Store().Delete(ctx, o.Key()); err != nil {
				return n, err
			}
		}

		n++
	}

	return n, nil
}
