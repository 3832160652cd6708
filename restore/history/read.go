package history

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/forecast"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/targets"
)

const (
	op = "plan history"
	// drill begins the kind of the records of drills.
	drill = "plan-drill-of-"
	// longest is how long a run may go on: one that began earlier than that before what counts
	// has ended before it.
	longest = 7 * 24 * time.Hour
)

// DrillKind is the kind of the records of drills of a group's plans.
func DrillKind(group string) string { return drill + group }

// Drill is a rehearsal of a plan that was not a run of the group itself, such as one in a
// lab or on a game day.
type Drill struct {
	ID       string    `json:"id"`
	Plan     string    `json:"plan"` // hash
	Mode     plan.Mode `json:"mode"`
	From     string    `json:"from"`
	To       string    `json:"to"`
	By       string    `json:"by"`
	Started  time.Time `json:"started"`
	Finished time.Time `json:"finished"`
	Passed   bool      `json:"passed"`
	// Why says why it did not pass.
	Why   string            `json:"why,omitempty"`
	Steps []forecast.Sample `json:"steps,omitempty"`
}

// SaveDrill keeps a drill of a plan in the vaults. It may be repeated.
func SaveDrill(ctx context.Context, set vault.Set, group string, d Drill) error {
	if d.ID == "" || !targets.IsSHA256(d.Plan) || d.Started.IsZero() || d.Finished.Before(d.Started) {
		return fail.Newf(fail.Invalid, op, d.ID, "a drill has an id, the hash of its plan, a beginning and an end")
	}

	_, err := set.SaveReport(ctx, DrillKind(group), targets.IDTime(d.Started)+"-"+d.ID, d)

	return err
}

// reading is what is read of a group, the newest first.
type reading struct {
	set   vault.Set
	group string
	since time.Time // what ended before does not count; zero reads all
	found map[string]int
	out   []Entry
	// silent are vaults that did not tell everything, by region.
	silent map[string]error
}

// read finds the runs and drills of a group that ended at or after an instant.
func read(ctx context.Context, set vault.Set, group string, since time.Time) *reading {
	r := &reading{set: set, group: group, since: since, found: map[string]int{}, silent: map[string]error{}}
	if !since.IsZero() {
		r.since = since.Add(-longest)
	}

	for _, v := range set.Vaults {
		if err := r.runs(ctx, v); err != nil {
			r.silent[v.Region()] = err
		}

		if err := r.drills(ctx, v); err != nil {
			r.silent[v.Region()] = errors.Join(r.silent[v.Region()], err)
		}
	}

	slices.SortStableFunc(r.out, func(a, b Entry) int { return b.Started.Compare(a.Started) })

	return r
}

// runs reads those of one vault, the newest first, until one is too old to count.
func (r *reading) runs(ctx context.Context, v *vault.Vault) error {
	ids, err := v.Reports(ctx, runs.PromotionKind(r.group))
	if err != nil {
		return err
	}

	for _, id := range slices.Backward(ids) {
		n, perr := strconv.ParseUint(id, 10, 63)
		if perr != nil || runs.EpochID(n) != id {
			return fail.Newf(fail.Corrupt, op, r.group, "the vault of %s has a promotion called %.40q", v.Region(), id)
		}

		var p runs.Promotion
		if err := v.Report(ctx, runs.PromotionKind(r.group), id, &p); err != nil {
			return err
		}

		if at := began(p); !at.IsZero() && at.Before(r.since) {
			return nil
		}

		if err := r.run(ctx, v, p); err != nil {
			return err
		}
	}

	return nil
}

// run reads how a run ended, where no vault before has told.
func (r *reading) run(ctx context.Context, v *vault.Vault, p runs.Promotion) error {
	i, ok := r.found[p.Run]
	if ok && !r.out[i].open() {
		return nil
	}

	if !ok {
		i = len(r.out)
		r.found[p.Run], r.out = i, append(r.out, entry(p, nil))
	}

	var e ended

	err := v.Report(ctx, runs.EndKind(r.group), p.Run, &e)
	if fail.Is(err, fail.NotFound) {
		return nil
	}

	if err == nil {
		r.out[i] = entry(p, &e)
	}

	return err
}

// drills reads those of one vault.
func (r *reading) drills(ctx context.Context, v *vault.Vault) error {
	after := ""
	if !r.since.IsZero() {
		after = targets.IDTime(r.since)
	}

	ids, err := v.ReportsAfter(ctx, DrillKind(r.group), after)
	if err != nil {
		return err
	}

	for _, id := range ids {
		if _, ok := r.found["drill "+id]; ok {
			continue
		}

		var d Drill
		if err := v.Report(ctx, DrillKind(r.group), id, &d); err != nil {
			return err
		}

		e := Entry{ID: d.ID, Drill: true, Plan: d.Plan, Mode: d.Mode, From: d.From, To: d.To, By: d.By, Started: d.Started, Finished: d.Finished,
			Took: d.Finished.Sub(d.Started), Verdict: "passed", Passed: d.Passed, Why: d.Why, Steps: d.Steps}
		if !d.Passed {
			e.Verdict, e.Steps = "failed", nil
		}
		r.found["drill "+id], r.out = len(r.out), append(r.out, e)
	}

	return nil
}

// err is what vaults did not tell; nil when all did.
func (r *reading) err() error {
	var errs []error
	for _, v := range r.set.Vaults {
		errs = append(errs, r.silent[v.Region()])
	}

	return errors.Join(errs...)
}

// believed is what is known of a plan when the vault of the region that takes over has told
// everything: a run is kept there before anywhere else.
func (r *reading) believed(v forecast.Verification, to string) forecast.Verification {
	asked := slices.ContainsFunc(r.set.Vaults, func(x *vault.Vault) bool { return x.Region() == to })
	if v.Verified && (!asked || r.silent[to] != nil) {
		v.Verified, v.Why = false, "the vault of "+to+", which has to know it, does not tell"
	}

	return v
}
