package upkeep

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/targets"
)

// Retention says what retention removed from a vault, or would. It is also the
// report of it in the vault.
type Retention struct {
	Region string `json:"region"`
	// How many went; the lists in Plan and Result may be cut off.
	Cuts      int `json:"cuts"`
	Bases     int `json:"bases"`
	Manifests int `json:"manifests"`
	Plans     int `json:"plans,omitempty"` // saved plans of restores
	// Observations are the batches of observations that went.
	Observations int                   `json:"observations,omitempty"`
	Plan         vault.RetentionPlan   `json:"plan"`
	Result       vault.RetentionResult `json:"result"`
	// Report is the id of the vault's report of kind "retention" that has all.
	Report string `json:"report,omitempty"`
	// Error is why it broke off, in the report.
	Error string `json:"error,omitempty"`
}

// RetentionReports is the kind of the reports of what was removed.
const RetentionReports = "retention"

// Figures are the counts, as the attributes of a line of the log.
func (o Retention) Figures() []any {
	r := o.Result

	return []any{"cuts", o.Cuts, "bases", o.Bases, "manifests", o.Manifests, "plans", o.Plans,
		"observations", o.Observations, "chunks", r.Chunks, "objects", r.Objects, "condemned", r.Condemned, "report", o.Report}
}

// Bounded keeps the counts, and of each list the first n.
func (o Retention) Bounded(n int) Retention {
	o.Plan.Cuts, o.Plan.Shards = nil, nil // the result has them
	r := &o.Result
	r.Cuts, r.Snapshots = r.Cuts[:min(len(r.Cuts), n)], r.Snapshots[:min(len(r.Snapshots), n)]
	r.Shards = slices.Clone(r.Shards)

	bases, kept, streams, manifests := n, n, n, n
	for i := range r.Shards {
		s := &r.Shards[i]
		s.Bases, s.KeptBases = first(s.Bases, &bases), first(s.KeptBases, &kept)
		s.Streams, s.Manifests = first(s.Streams, &streams), first(s.Manifests, &manifests)
	}

	return o
}

// first takes what is left of an allowance.
func first[T any](list []T, left *int) []T {
	n := min(len(list), *left)
	*left -= n

	return list[:n]
}

// RetainOr removes the one base that is asked for, or without one what the policy
// no longer keeps.
func RetainOr(ctx context.Context, v *vault.Vault, g platform.Group, one *Removal, now time.Time) (Retention, error) {
	if one != nil {
		return RemoveBase(ctx, v, g, *one, now, false)
	}

	return Retain(ctx, v, g, now)
}

// Retain removes from a vault what the group's policy no longer keeps, and keeps
// a report of it in the vault: the only place where anything is deleted from it.
// What was removed before it broke off is in the report too.
func Retain(ctx context.Context, v *vault.Vault, g platform.Group, now time.Time) (Retention, error) {
	out, rerr := retain(ctx, v, g, now, false)
	if rerr != nil && ctx.Err() == nil {
		out.Error = rerr.Error()
	}

	last, lerr := LastRetention(ctx, v, g.Name)
	if out.removed() || out.Error != last.Error || lerr != nil {
		out.Report = targets.IDTime(now) + "-" + g.Name
		if _, err := (vault.Set{Vaults: []*vault.Vault{v}}).SaveReport(ctx, RetentionReports, out.Report, out); err != nil {
			return out, errors.Join(rerr, err)
		}
	}

	return out, rerr
}

// WouldRetain says what Retain would remove, and removes nothing.
func WouldRetain(ctx context.Context, v *vault.Vault, g platform.Group, now time.Time) (Retention, error) {
	return retain(ctx, v, g, now, true)
}

func retain(ctx context.Context, v *vault.Vault, g platform.Group, now time.Time, dry bool) (Retention, error) {
	out := Retention{Region: v.Region()}

	inv, err := v.Inventory(ctx, []string{g.Name})
	if err != nil {
		return out, err
	}

	pol := g.Policy.Retention
	if n := g.Policy.KeepCutsMin; n > 0 && len(inv.Cuts) > 0 {
		// Cuts are sorted by age: the Nth newest one widens the window.
		nth := inv.Cuts[max(0, len(inv.Cuts)-n)]
		pol.KeepCuts = max(pol.KeepCuts, now.Sub(nth.QuiescedAt)+time.Minute)
	}

	out.Plan = vault.PlanRetention(inv, pol, now)
	out.Result, err = v.Retain(ctx, out.Plan, vault.RetainOptions{DryRun: dry})

	out.Cuts = len(out.Result.Cuts)
	for _, s := range out.Result.Shards {
		out.Bases += len(s.Bases)
		out.Manifests += len(s.Manifests)
	}

	if err == nil {
		out.Plans, err = dropPlans(ctx, v, g, plansUntil(pol, now), dry)
	}

	if err == nil {
		out.Observations, err = dropObservations(ctx, v, g, observationsUntil(inv, out.Plan), dry)
	}

	return out, err
}

// removed reports whether anything went, or was marked to go.
func (o Retention) removed() bool {
	r := o.Result
	return o.Cuts+o.Bases+o.Manifests+o.Plans+o.Observations+len(r.Snapshots) > 0 || r.Chunks+r.Objects+r.Condemned > 0
}

// LastRetention reads the newest report of a vault's retention: what the last run
// that removed anything did, or why the last run broke off. It is the zero value
// when there is none. One that has nothing to remove leaves a report only after
// one that broke off.
func LastRetention(ctx context.Context, v *vault.Vault, group string) (Retention, error) {
	ids, err := v.Reports(ctx, RetentionReports)
	if err != nil {
		return Retention{}, err
	}

	for _, id := range slices.Backward(ids) {
		if _, of, _ := strings.Cut(id, "Z-"); of == group {
			var out Retention
			err := v.Report(ctx, RetentionReports, id, &out)

			return out, err
		}
	}

	return Retention{}, nil
}
