package actions

import (
	"context"
	"encoding/json"
	"errors"

	"drctl/activities/atmoment"
	"drctl/activities/steps"
	"drctl/internal/fail"
	"drctl/restore/ahead"
	"drctl/restore/plan"
	"drctl/targets"
)

func (a *Activities) sites() atmoment.Sites {
	return atmoment.Sites{Place: atmoment.Place{Platform: a.Platform, Logs: a.Logs, Version: a.Version}, Hosts: a.Platform, Drivers: a.Drivers, Host: a.Host, Restore: a.Restore}
}

// moment finds the moment of a proven recovery, or settles it.
func (a *Activities) moment(ctx context.Context, c Call, d plan.Definition, which string) (Done, error) {
	b, err := a.sites().Settle(ctx, d, c.Run, which)
	if err != nil {
		return Done{}, err
	}

	done := Done{Said: b.Words()}
	if which == atmoment.Settled {
		done.Out, err = json.Marshal(b)
	}

	return done, err
}

// restore lays a shard down. Whatever was said: an old side that comes back while its successor is
// laid down is seen before.
func (a *Activities) restore(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	laid, err := a.sites().Lay(ctx, c.Run, d, s, func() error { return a.mute(ctx, d, s.On) })
	if err != nil {
		return Done{}, err
	}
	out, err := json.Marshal(laid)

	return Done{Out: out, Said: laid.Words()}, err
}

// laidDown gives hands what the steps before have laid down, and how its servers are started.
func (a *Activities) laidDown(h *steps.Hands, c Call, d plan.Definition) (err error) {
	call, err := json.Marshal(c)
	if err != nil {
		return fail.New(fail.Internal, op, c.Step, "", err)
	}

	h.Wake = func(ctx context.Context, id targets.ShardID) error {
		return a.sites().WakeAnywhere(ctx, c.Run, call, d, id)
	}
	h.Line = func(ctx context.Context, id targets.ShardID) (ahead.Line, error) {
		line, err := a.sites().Line(ctx, d, id, h.Shards[id].Old.Kind)

		return line, errors.Join(err, a.mute(ctx, d, id))
	}
	h.Laid, err = atmoment.Points(d, c.Outs)

	return err
}
