package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"drctl/activities/atmoment"
	"drctl/activities/onhost"
	"drctl/activities/outside"
	"drctl/activities/planned"
	"drctl/activities/reconciling"
	"drctl/activities/steps"
	"drctl/internal/fail"
	"drctl/internal/traffic"
	"drctl/restore/ahead"
	"drctl/restore/history"
	"drctl/restore/parted"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// do does a step outside of a section.
func (a *Activities) do(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	switch s.Do {
	case plan.OpPrecheck:
		return a.precheck(ctx, c, d, s)
	case plan.OpReroute:
		return a.reroute(ctx, c, d, s)
	case plan.OpClaim:
		return a.claim(ctx, c, d, s)
	case plan.OpFence:
		return a.fence(ctx, c, d, s)
	case plan.OpFeed:
		return a.feed(ctx, d, s)
	case plan.OpRestore:
		return a.restore(ctx, c, d, s)
	case plan.OpVerify:
		return a.verify(ctx, d, s)
	case plan.OpRejoin:
		return a.rejoin(ctx, c, d, s)
	case plan.OpReconcile:
		return said(reconciling.Step(ctx, a.Platform, a.Drivers[s.Kind], a.vaults, d, s, c.Run, a.Log))
	case plan.OpMerge:
		return said(parted.Merge(ctx, a.Platform.Vault, d.From, d.To, nil))
	case plan.OpExec:
		return program(ctx, s.ID, s.With.Exec)
	case plan.OpHTTP:
		return said(outside.Request(ctx, s.ID, s.With.HTTP))
	case plan.OpWarm:
		if s.With.Warm != nil {
			return said(outside.Warm(ctx, s.ID, s.With.Warm))
		}
	case plan.OpNotify:
		if s.With.Notify != nil {
			a.Log.InfoContext(ctx, s.With.Notify.Text, "run", c.Run, "group", d.Group)
			return Done{Said: "written to the log of " + a.Process}, nil
		}
	}

	return Done{}, fail.Newf(fail.Unsupported, op, s.ID, "nothing here can do %q", s.Do)
}

func (a *Activities) precheck(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	if s.With.Precheck == nil {
		return Done{}, fail.Newf(fail.Invalid, op, s.ID, "it names no condition")
	}

	switch s.With.Precheck.Check {
	case plan.CheckVault:
		v, err := a.Platform.Vault(ctx, d.To)
		if err == nil {
			err = v.Answers(ctx)
		}

		return Done{}, err
	case plan.CheckRoutes:
		return a.readRoutes(ctx, d)
	case plan.CheckReady:
		return a.ready(ctx, c, d, s)
	case plan.CheckStandby:
		return a.standby(ctx, d, s)
	case plan.CheckVerify:
		return said(history.Precheck(ctx, a.vaults, d, c.Run, s.With.Precheck.Within))
	case plan.CheckMoment:
		return a.moment(ctx, c, d, atmoment.Foreseen)
	case plan.BindMoment:
		return a.moment(ctx, c, d, atmoment.Settled)
	case plan.CheckPlace:
		return said(a.sites().Check(ctx, c.Run, d, s))
	}

	return Done{}, fail.Newf(fail.Unsupported, op, s.ID, "nothing here checks %q", s.With.Precheck.Check)
}

// routes are those that a plan moves. The caller closes them.
func (a *Activities) routes(ctx context.Context, d plan.Definition) (traffic.Set, error) {
	all, err := a.Platform.Routes(ctx, d.Group)
	if err != nil {
		return nil, err
	}

	moved := map[string]bool{}
	for _, s := range d.Steps {
		if s.With.Reroute != nil {
			moved[s.With.Reroute.Route] = true
		}
	}

	var out traffic.Set
	for _, b := range all {
		if !moved[b.Route.Name] {
			b.Driver.Close()
			continue
		}

		out = append(out, b)
		delete(moved, b.Route.Name)
	}

	for name := range moved {
		out.Close()
		return nil, fail.Newf(fail.NotFound, op, name, "the plan moves a route that the configuration of this worker does not have")
	}

	return out, nil
}

func (a *Activities) readRoutes(ctx context.Context, d plan.Definition) (Done, error) {
	routes, err := a.routes(ctx, d)
	if err != nil {
		return Done{}, err
	}
	defer routes.Close()

	states, err := routes.Read(ctx)
	if err != nil {
		return Done{}, err
	}

	for name, s := range states {
		if s.Held || s.Isolated {
			return Done{}, fail.New(fail.Conflict, op, "route "+name, "see whether another recovery runs (drctl recovery show, drctl runs list); if none does, let its clients go on by hand, and run it again",
				errors.New("its clients wait or are kept away already"))
		}
	}

	out, err := json.Marshal(states)

	return Done{Out: out, Said: fmt.Sprintf("%d routes answer", len(states))}, err
}

// ready lets the hands prepare the shard, and lets go again: it shows early what
// would not go well, and has the checkpoints done.
func (a *Activities) ready(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	if !s.Kind.Traits().Log {
		return a.standby(ctx, d, s)
	}

	x, err := a.shard(ctx, c, d, s)
	if err != nil {
		return Done{}, err
	}
	defer x.Switch.Close()

	p, err := x.Switch.Prepare(ctx)
	if err != nil {
		return Done{}, err
	}

	return Done{Said: strings.Join(append([]string{fmt.Sprintf("%d bytes behind", p.Lag)}, p.Warnings...), "; ")}, nil
}

// standby looks whether there is something to go to.
func (a *Activities) standby(ctx context.Context, d plan.Definition, s plan.StepDef) (Done, error) {
	in, driver, err := a.instance(ctx, s.On, d.To)
	if err != nil {
		return Done{}, err
	}

	st, err := driver.Reach(ctx, in)
	if err != nil {
		return Done{}, err
	}

	if s.Kind.Traits().Log && st.Writable {
		return Done{}, fail.New(fail.Conflict, op, in.String(), "see drctl status: has the group moved already?", errors.New("it is writable: there is nothing to promote"))
	}

	at, err := ahead.Place(ctx, driver, in)
	if err != nil {
		return Done{}, err
	}

	// The next time it is asked it may hear of nobody any more.
	var out json.RawMessage
	if h := ahead.Heard(ctx, driver, in); h != nil && d.Mode == plan.ModeFailover {
		if out, err = json.Marshal(h); err != nil {
			return Done{}, err
		}
	}

	return Done{Out: out, Said: fmt.Sprintf("%s at %s", st.Role, at)}, nil
}

// instance is a shard's instance in a region, with the driver of its kind.
func (a *Activities) instance(ctx context.Context, id targets.ShardID, region string) (targets.Instance, targets.Driver, error) {
	in, err := a.Platform.Instance(ctx, id, region)
	if err != nil {
		return in, nil, err
	}
	driver, err := a.driver(in.Kind)

	return in, driver, err
}

// switcher is the part of a driver that moves primaries.
func (a *Activities) switcher(k targets.Kind) (handover.Switcher, error) {
	driver, err := a.driver(k)
	if err != nil {
		return nil, err
	}

	sw, ok := driver.(handover.Switcher)
	if !ok {
		return nil, fail.Newf(fail.Unsupported, op, string(k), "stores of this kind have no primary that could move")
	}

	return sw, nil
}

// shard takes the shard of a step in hand.
func (a *Activities) shard(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (steps.Shard, error) {
	sw, err := a.switcher(s.Kind)
	if err != nil {
		return steps.Shard{}, err
	}

	req := handover.Request{Epoch: c.Epoch}
	if req.Old, err = a.Platform.Instance(ctx, s.On, d.From); err != nil {
		return steps.Shard{}, err
	}

	if req.New, err = a.Platform.Instance(ctx, s.On, d.To); err != nil {
		return steps.Shard{}, err
	}

	out := steps.Shard{Old: req.Old}
	for _, r := range a.Platform.Regions(s.On) {
		if r == d.From || r == d.To {
			continue
		}

		in, err := a.Platform.Instance(ctx, s.On, r)
		if err != nil {
			return out, err
		}

		proof, err := a.stands(ctx, in, c.Epoch)
		if err != nil {
			return out, err
		}
		req.Others, out.Standing = append(req.Others, in), append(out.Standing, proof)
	}
	out.Others = req.Others

	stop, start := a.Platform.Host(s.On, d.From)
	req.Host = handover.HostCommands{Stop: stop, Start: start}

	if req.Old.Kind.Traits().Files && onhost.Beside(a.Host, req.Old) != nil {
		out.Switch, err = a.across(c, d, sw, req)
	} else {
		out.Switch, err = sw.Switch(req)
	}

	return out, err
}

// stands shows that a further instance is a standby, which nobody promotes.
func (a *Activities) stands(ctx context.Context, in targets.Instance, epoch uint64) (handover.Silence, error) {
	driver, err := a.driver(in.Kind)
	if err != nil {
		return handover.Silence{}, err
	}

	st, err := driver.Reach(ctx, in)
	if err != nil {
		return handover.Silence{}, err
	}

	if st.Writable {
		return handover.Silence{}, fail.New(fail.Conflict, op, in.String(), "see drctl status", errors.New("it is writable, and neither the old side nor the new one"))
	}

	return handover.Silence{Instance: in.String(), Kind: handover.SilentStandby, Epoch: epoch, By: "probe"}, nil
}

// reroute moves one route outside of a section.
func (a *Activities) reroute(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	h, done, err := a.routesOnly(ctx, c, d)
	if err != nil {
		return Done{}, err
	}
	defer done()

	_, err = h.Do(ctx, planned.Node(d, c.Mode, s.ID), h.Known())

	return Done{}, err
}

func (a *Activities) rerouteBack(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) error {
	h, done, err := a.routesOnly(ctx, c, d)
	if err != nil {
		return err
	}
	defer done()

	return h.Undo(ctx, planned.Node(d, c.Mode, s.ID), h.Known())
}

// routesOnly are hands with routes and no shards, with what the routes were before.
func (a *Activities) routesOnly(ctx context.Context, c Call, d plan.Definition) (*steps.Hands, func(), error) {
	out, ok := c.Outs[planned.RoutesStep(d)]
	if !ok {
		return nil, nil, fail.Newf(fail.Conflict, op, c.Step, "the routes were not read before")
	}

	h, err := steps.Routing(d, c.Epoch, out)
	if err != nil {
		return nil, nil, fail.New(fail.Corrupt, op, c.Step, "", err)
	}

	routes, err := a.routes(ctx, d)
	h.Routes = routes

	return h, routes.Close, err
}

// said is a step of which nothing but words is left.
func said(words string, err error) (Done, error) { return Done{Said: words}, err }

// program runs a program of the platform's own.
func program(ctx context.Context, step string, x *plan.Exec, env ...string) (Done, error) {
	return said(outside.Program(ctx, step, x, env...))
}
