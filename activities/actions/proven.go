package actions

import (
	"context"
	"encoding/json"
	"fmt"

	"drctl/activities/ahead"
	"drctl/activities/atmoment"
	"drctl/activities/inplace"
	"drctl/activities/onhost"
	"drctl/activities/steps"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// Restore lays one shard of a restore down, as drctl restore run does. It is called within an activity.
type Restore func(ctx context.Context, run plan.Carried, step string) (plan.StepOut, error)

func (a *Activities) moments() atmoment.Place {
	return atmoment.Place{Platform: a.Platform, Logs: a.Logs, Version: a.Version}
}

// moment finds the moment of a proven recovery, or settles it.
func (a *Activities) moment(ctx context.Context, c Call, d plan.Definition, which string) (Done, error) {
	b, err := a.moments().Settle(ctx, d, c.Run, which)
	if err != nil {
		return Done{}, err
	}

	done := Done{Said: b.Words()}
	if which == atmoment.Settled {
		done.Out, err = json.Marshal(b)
	}

	return done, err
}

// site is the place of a shard in the region that takes over.
func (a *Activities) site(ctx context.Context, c Call, d plan.Definition, id targets.ShardID, into plan.Destination) (inplace.Site, targets.Driver, error) {
	in, driver, err := a.instance(ctx, id, d.To)
	if err != nil {
		return inplace.Site{}, nil, err
	}

	r, ok := driver.(handover.Replacing)
	if !ok {
		return inplace.Site{}, nil, fail.New(fail.Unsupported, op, in.String(), "name an empty destination, and restore it there: drctl restore run --into instances", fmt.Errorf("nothing takes the place of a standby of kind %s", in.Kind))
	}

	if in.DataDir == "" {
		return inplace.Site{}, nil, fail.Newf(fail.Invalid, op, in.String(), "its data_dir is not configured")
	}

	if err := onhost.Beside(a.Host, in); err != nil {
		return inplace.Site{}, nil, err
	}
	stop, start := a.Platform.Host(id, d.To)

	return inplace.Site{Run: c.Run, In: in, Into: into, Host: handover.HostCommands{Stop: stop, Start: start}, Does: r.Replacer()}, driver, nil
}

// restoring is the step of a restore by which a shard comes back.
func restoring(r plan.Run, id targets.ShardID) (plan.Step, error) {
	for _, s := range r.Steps {
		if s.Op == plan.OpRestore && s.Shard == id {
			return s, nil
		}
	}

	return plan.Step{}, fail.Newf(fail.NotFound, op, id.String(), "the moment does not have the shard")
}

// needs is how much room a restore takes, in bytes.
func needs(s plan.Step) int64 { return s.BaseBytes + s.StreamBytes }

// placeable says whether a shard can be laid down in its place. It is asked while nothing is touched.
func (a *Activities) placeable(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	site, driver, err := a.site(ctx, c, d, s.On, s.Into)
	if err != nil {
		return Done{}, err
	}

	_, run, err := a.moments().Read(ctx, d, c.Run, atmoment.Foreseen)
	if err != nil {
		return Done{}, err
	}

	step, err := restoring(run, s.On)
	if err != nil {
		return Done{}, err
	}

	if f, ok := driver.(targets.Fitter); ok {
		if err := f.Fits(ctx, step.Base); err != nil {
			return Done{}, err
		}
	}
	said, err := site.Check(ctx, needs(step))

	return Done{Said: said}, err
}

// restore lays a shard down at the run's moment, in the place of its standby.
func (a *Activities) restore(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	if !s.Kind.Traits().Log || a.Restore == nil {
		return Done{}, fail.New(fail.Unsupported, op, s.ID, "restore it with: drctl restore run --into instances", fmt.Errorf("nothing lays a shard of kind %s down in a failover", s.Kind))
	}

	site, _, err := a.site(ctx, c, d, s.On, s.Into)
	if err != nil {
		return Done{}, err
	}

	b, run, err := a.moments().Read(ctx, d, c.Run, atmoment.Settled)
	if err != nil {
		return Done{}, err
	}

	step, err := restoring(run, s.On)
	if err != nil {
		return Done{}, err
	}

	// Whatever was said: what comes back while its successor is laid down is seen before.
	if err := a.mute(ctx, d, s.On); err != nil {
		return Done{}, err
	}

	if _, err := site.Clear(ctx, needs(step)); err != nil {
		return Done{}, err
	}

	n, err := site.Lay(ctx, step.Base, func(ctx context.Context) (plan.StepOut, error) { return a.Restore(ctx, b.Restore, step.ID) })
	if err != nil {
		return Done{}, err
	}

	laid := b.Given(step, n.Standing.At)
	if n.Place.Dir == n.Standing.Dir {
		laid.Kept, laid.Host = n.Place.Kept, site.In.Host
	}

	for _, f := range n.Out.Findings {
		switch {
		case f.Check != targets.CheckPrepared:
		case f.Severity == targets.Passed:
			laid.Ended = append(laid.Ended, f.Got+": "+f.Detail)
		default:
			laid.InDoubt = append(laid.InDoubt, f.Detail)
		}
	}
	out, err := json.Marshal(laid)

	return Done{Out: out, Said: laid.Words()}, err
}

// unplace gives a standby its place back.
func (a *Activities) unplace(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) error {
	site, _, err := a.site(ctx, c, d, s.On, s.Into)
	if err != nil {
		return err
	}

	return site.Back(ctx)
}

// laidDown gives hands what the steps before have laid down, and how its servers are started.
func (a *Activities) laidDown(h *steps.Hands, c Call, d plan.Definition) error {
	h.Laid = map[targets.ShardID]targets.Position{}

	for _, s := range d.Steps {
		if s.Do != plan.OpRestore || !s.Kind.Traits().Log {
			continue
		}

		var laid atmoment.Laid
		if err := json.Unmarshal(c.Outs[s.ID], &laid); err != nil {
			return fail.New(fail.Conflict, op, s.ID, "", fmt.Errorf("what it has laid down is not known: %w", err))
		}
		h.Laid[s.On] = laid.Point
	}

	h.Wake = func(ctx context.Context, id targets.ShardID) error { return a.wake(ctx, c, d, id) }

	return nil
}

// wake starts the server of a shard that was laid down, where it is.
func (a *Activities) wake(ctx context.Context, c Call, d plan.Definition, id targets.ShardID) error {
	in, _, err := a.instance(ctx, id, d.To)
	if err != nil {
		return err
	}

	if onhost.Beside(a.Host, in) == nil {
		return a.wakeHere(ctx, c, d, id)
	}

	call, err := json.Marshal(c)
	if err != nil {
		return fail.New(fail.Internal, op, c.Step, "", err)
	}

	g, err := a.Platform.Group(d.Group)
	if err != nil {
		return err
	}

	return onhost.Switch{By: onhost.Engine{}, To: onhost.Ask{Place: platform.Place{Region: in.Region, Host: in.Host},
		Queue: platform.Queue(g.Queue(in.Region), in.Host, platform.Base), Shard: id, Kind: in.Kind, Call: call}}.Wake(ctx)
}

func (a *Activities) wakeHere(ctx context.Context, c Call, d plan.Definition, id targets.ShardID) error {
	for _, s := range d.Steps {
		if s.Do != plan.OpRestore || s.On != id {
			continue
		}

		site, _, err := a.site(ctx, c, d, id, s.Into)
		if err != nil {
			return err
		}

		return site.Wake(ctx)
	}

	return fail.Newf(fail.NotFound, op, id.String(), "the plan lays no such shard down")
}

// lineOf is the line of a shard's old side, where its new one was laid down: that does not run yet.
func (a *Activities) lineOf(ctx context.Context, d plan.Definition, id targets.ShardID, k targets.Kind) (steps.Line, error) {
	v, err := a.Platform.Vault(ctx, d.To)
	if err != nil {
		return steps.Line{}, err
	}

	line, err := ahead.End(ctx, v, id, k)
	if err != nil {
		return line, err
	}

	return line, a.mute(ctx, d, id)
}
