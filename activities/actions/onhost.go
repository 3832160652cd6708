package actions

import (
	"context"
	"encoding/json"

	"drctl/activities/onhost"
	"drctl/activities/planned"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/plan"
	"drctl/targets/handover"
)

// across gives a shard hands whose old side is on another host: what looks into its
// directory there, stops and starts its server, is asked of that host's worker.
func (a *Activities) across(c Call, d plan.Definition, sw handover.Switcher, req handover.Request) (handover.Switch, error) {
	old := req.Old

	call, err := json.Marshal(c)
	if err != nil {
		return nil, fail.New(fail.Internal, op, c.Step, "", err)
	}

	g, err := a.Platform.Group(d.Group)
	if err != nil {
		return nil, err
	}

	req.Old.DataDir = "" // what is at this path here is another's
	here, err := sw.Switch(req)

	return onhost.Switch{Switch: here, By: onhost.Engine{}, To: onhost.Ask{Place: platform.Place{Region: old.Region, Host: old.Host},
		Queue: platform.Queue(g.Queue(old.Region), old.Host, platform.Base), Shard: old.Shard, Kind: old.Kind, Call: call}}, err
}

// Hand does on this host what a section elsewhere asks of it.
func (a *Activities) Hand(ctx context.Context, ask onhost.Ask) (json.RawMessage, error) {
	out, err := a.hand(ctx, ask)
	return out, engine.EncodeError(err)
}

func (a *Activities) hand(ctx context.Context, ask onhost.Ask) (json.RawMessage, error) {
	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	if err := platform.Placed(a.Host, ask.Host, ask.Shard.String()); err != nil {
		return nil, err
	}

	var c Call
	if err := json.Unmarshal(ask.Call, &c); err != nil {
		return nil, fail.New(fail.Corrupt, op, ask.Shard.String(), "", err)
	}

	d, err := a.load(ctx, c.Plan)
	if err != nil {
		return nil, err
	}

	if ask.Do == onhost.Wake {
		done, err := a.hosted.Turn(ctx, ask)
		if err != nil {
			return nil, err
		}
		defer done()

		return nil, a.sites().Wake(ctx, c.Run, d, ask.Shard)
	}

	s, err := a.shard(ctx, c, d, plan.StepDef{On: ask.Shard, Kind: ask.Kind})
	if err != nil {
		return nil, err
	}
	defer s.Switch.Close()

	if err := platform.Placed(a.Host, s.Old.Host, s.Old.String()); err != nil {
		return nil, err
	}

	out, err := a.hosted.Do(ctx, s.Switch, ask)
	if err != nil {
		return nil, err
	}

	return json.Marshal(out)
}
