package history

import (
	"context"
	"errors"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/forecast"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// Ask asks whether a plan is verified.
type Ask struct {
	// Plan is the hash, and To the region that takes over: its vault has to tell.
	Plan string
	To   string
	// Mode, where it is set, leaves out plans of other modes when it is said what was edited.
	Mode plan.Mode
	// Not names a run that does not count: the one that asks.
	Not string
}

// Recent are the runs and drills of a group that may still count.
type Recent struct {
	*reading
	now   time.Time
	lasts time.Duration
}

// Read reads what ended no longer ago than lasts, 0 is everything, and nothing older.
func Read(ctx context.Context, set vault.Set, group string, now time.Time, lasts time.Duration) Recent {
	since := time.Time{}
	if lasts > 0 {
		since = now.Add(-lasts)
	}

	return Recent{read(ctx, set, group, since), now, lasts}
}

// Verified says whether a plan of the group is verified, by what, and until when: the newest
// run or drill of its very hash has to have ended well, not too long ago. A run has ended well
// when the group is where the plan leads, and no check has failed or was left out.
func (r Recent) Verified(q Ask) forecast.Verification {
	var all []forecast.Rehearsal

	for _, e := range r.out {
		if (e.Drill || e.ID != q.Not) && (e.Plan == q.Plan || q.Mode == "" || e.Mode == q.Mode) {
			all = append(all, e.rehearsal())
		}
	}

	return r.believed(forecast.Verified(q.Plan, all, r.now, r.lasts), q.To)
}

// Samples are how long steps took, in the runs and drills of any plan of the group.
func (r Recent) Samples() (out []forecast.Sample) {
	for _, e := range r.out {
		out = append(out, e.Steps...)
	}

	return out
}

// Timed is how many runs and drills have such samples.
func (r Recent) Timed() (n int) {
	for _, e := range r.out {
		if len(e.Steps) > 0 {
			n++
		}
	}

	return n
}

// Any reports whether there is any run or drill.
func (r Recent) Any() bool { return len(r.out) > 0 }

// Region is that to which the newest run has brought the group; "" when none has.
func (r Recent) Region() string {
	for _, e := range r.out {
		if !e.Drill && e.Verdict == string(machine.Reached) {
			return e.To
		}
	}

	return ""
}

// Parted is since when two regions have been apart: since the run began that took the group from one to
// the other, or may have. Runs behind it that did not bring them together again, such as a failback that
// was broken off or whose stores were not reconciled, change nothing. Zero when none has parted
// them. not names a run that does not count.
func (r Recent) Parted(a, b, not string) (since time.Time) {
	for _, e := range r.out { // the newest first
		between := e.From == a && e.To == b || e.From == b && e.To == a
		if !between || e.Drill || e.ID == not || e.Verdict == string(machine.TakenBack) {
			continue
		}

		if since.IsZero() || !e.joined() {
			since = e.Started
		}

		if e.joined() {
			break
		}
	}

	return since
}

// Err is what vaults did not tell; nil when all that were asked did.
func (r Recent) Err() error { return r.err() }

// Precheck is what a run says of its own plan before it begins: that it has been shown to work, no
// longer ago than lasts. Unverified when it has not.
func Precheck(ctx context.Context, vaults func(ctx context.Context, group, region string) (vault.Set, error), d plan.Definition, run string, lasts time.Duration) (string, error) {
	set, err := vaults(ctx, d.Group, d.To)
	if err != nil {
		return "", err
	}
	past := Read(ctx, set, d.Group, time.Now(), lasts)

	v := past.Verified(Ask{Plan: d.Hash(), To: d.To, Mode: d.Mode, Not: run})
	if !v.Verified {
		return "", fail.New(fail.Unverified, op, d.Group, "see what ran: drctl plan history --group "+d.Group+" --mode "+string(d.Mode), errors.Join(errors.New("the plan is unverified: "+v.Why), past.Err()))
	}

	return v.String(), nil
}
