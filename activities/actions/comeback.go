package actions

import (
	"context"
	"slices"

	"drctl/activities/comeback"
	"drctl/activities/onhost"
	"drctl/internal/stream/tail"
	"drctl/restore/plan"
	"drctl/targets/handover"
)

// rejoin makes the side that was left, or that is to take over again, a standby of
// the present primary, by the ways that the plan allows, the cheapest first.
func (a *Activities) rejoin(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	if !s.Kind.Traits().Log {
		return Done{Said: "both sides take writes: there is nothing to follow"}, nil
	}
	// The step's region is where the instance is that comes back.
	old, other := s.Region, d.To
	if old == d.To {
		other = d.From
	}
	b := comeback.Side{Run: c.Run, By: c.By, Group: d.Group, Ways: []string{plan.RejoinAsIs}}

	if s.With.Rejoin != nil && len(s.With.Rejoin.By) > 0 {
		b.Ways = s.With.Rejoin.By
	}

	var err error
	if b.Switcher, err = a.switcher(s.Kind); err != nil {
		return Done{}, err
	}

	if b.Driver, err = a.driver(s.Kind); err != nil {
		return Done{}, err
	}

	if b.Req.Old, err = a.Platform.Instance(ctx, s.On, old); err != nil {
		return Done{}, err
	}

	if err := onhost.Beside(a.Host, b.Req.Old); err != nil {
		return Done{}, err
	}

	if b.Req.New, err = a.Platform.Instance(ctx, s.On, other); err != nil {
		return Done{}, err
	}

	if b.Set, err = a.vaults(ctx, d.Group, other); err != nil {
		return Done{}, err
	}
	stop, start := a.Platform.Host(s.On, old)
	b.Req.Host = handover.HostCommands{Stop: stop, Start: start}
	b.Req.MayRewind = slices.Contains(b.Ways, plan.RejoinRewind)
	b.Req.Tail, b.Req.Lost = tail.Keeper{Set: b.Set, Shard: s.On}, b.Lost

	return said(b.Come(ctx))
}
