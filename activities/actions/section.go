package actions

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"go.temporal.io/sdk/activity"

	"drctl/activities/aftermath"
	"drctl/activities/atmoment"
	"drctl/activities/halfdone"
	"drctl/activities/planned"
	"drctl/activities/section"
	"drctl/internal/engine"
	"drctl/restore/losses"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// Section runs a section, or goes on with one that another process began. One that was
// taken back is no error.
func (a *Activities) Section(ctx context.Context, c Call) (Ended, error) {
	out, err := a.section(ctx, c)
	left, lost := aftermath.Left(out.Steps), a.lost(ctx, c, out)

	return Ended{out, left.InDoubt, left.Ended, a.halves(ctx, c, out, lost), lost}, engine.EncodeError(err)
}

// Ended is how a section ended.
type Ended struct {
	section.Result
	// InDoubt are transactions that are prepared on the new side and that nobody has ended.
	InDoubt []string `json:"in_doubt,omitempty"`
	// Resolved are those that were ended by rule.
	Resolved []string `json:"resolved,omitempty"`
	// Halves are global transactions of which a part is lost.
	Halves *halfdone.Halves `json:"halves,omitempty"`
	// Loss is what a failover lost, as far as it is known at once.
	Loss *losses.Statement `json:"loss,omitempty"`
}

func (a *Activities) resolver() halfdone.Resolver {
	return halfdone.Resolver{Platform: a.Platform, Drivers: a.Drivers, Logs: a.Logs}
}

// halves lists what a failover left half done. Nobody waits for it.
func (a *Activities) halves(ctx context.Context, c Call, out section.Result, lost *losses.Statement) *halfdone.Halves {
	d, err := a.load(ctx, c.Plan)
	if err != nil || d.Mode != plan.ModeFailover || d.Choice == plan.Proven && atmoment.Whole(c.Outs) {
		return nil // the moment says what was half done there
	}

	return aftermath.Halves(ctx, a.resolver(), d, out, lost, lossLimit)
}

func (a *Activities) section(ctx context.Context, c Call) (section.Result, error) {
	d, err := a.load(ctx, c.Plan)
	if err != nil {
		return section.Result{}, err
	}

	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return section.Result{}, err
	}

	if err := a.superseded(ctx, c, d, true); err != nil {
		return section.Result{}, err
	}
	j := planned.Journal{Vault: v, Group: d.Group, Run: c.Run, Section: c.Step}

	by := fmt.Sprintf("%s, attempt %d", a.Process, activity.GetInfo(ctx).Attempt)

	h, done, err := a.hands(ctx, c, d)
	if err != nil {
		return notBegun(ctx, j, by, c, err)
	}
	defer done()

	var at atomic.Pointer[machine.State]
	stop := planned.Beat(ctx, func() any { return at.Load() })
	defer stop()

	log := a.Log.With("run", c.Run, "group", d.Group)

	out, err := section.Run(ctx, section.Options{Steps: d.Outline(c.Mode).Within(c.Step), Hands: h, Journal: j,
		By: by, Log: log, Shown: func(s machine.State) { at.Store(&s) }})

	// Proofs and states of routes stay in the journal: nobody after the section rests on them.
	for i, s := range out.Steps {
		if n, _ := d.Step(s.ID); n.Do != plan.OpResolve && n.Do != plan.OpPromote {
			out.Steps[i].Out = nil
		}
	}

	if u := (section.Untouched{}); errors.As(err, &u) {
		return notBegun(ctx, j, by, c, err)
	}

	return out, err
}

// notBegun is the result of a section that could not begin, where the journal says the same: nothing
// was changed, and nobody will who is still at it. Else it is the error.
func notBegun(ctx context.Context, j section.Journal, by string, c Call, why error) (section.Result, error) {
	if err := section.NotBegun(ctx, j, by); err != nil {
		return section.Result{}, why
	}

	return section.Result{Verdict: machine.TakenBack, Steps: []section.StepResult{{ID: c.Step, Status: machine.Failed, Error: why.Error()}}}, nil
}
