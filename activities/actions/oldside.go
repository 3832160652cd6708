package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"

	"drctl/activities/steps"
	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// fence proves that the old side of a shard is silent, by a program of the platform's
// own. Without one only a person can vouch for it.
func (a *Activities) fence(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	old, err := a.Platform.Instance(ctx, s.On, d.From)
	if err != nil {
		return Done{}, err
	}

	f := s.With.Fence
	if f == nil || f.Hook == nil || !slices.Contains(f.By, plan.ByHook) {
		return Done{}, fail.New(fail.Denied, op, s.ID, "make sure that it takes no writes and cannot come back to take any, then: drctl recovery answer "+s.ID+" vouch --reason ...",
			fmt.Errorf("no program of this platform takes the power or the network from %s", old))
	}

	// The program is told which server is meant.
	said, err := program(ctx, s.ID, f.Hook, "DRCTL_SHARD="+s.On.String(), "DRCTL_INSTANCE="+old.String(), "DRCTL_ADDRESS="+old.Address, "DRCTL_REGION="+d.From)
	if err != nil {
		return Done{}, err
	}

	out, err := json.Marshal(handover.Silence{Instance: old.String(), Kind: handover.SilentHook, Epoch: c.Epoch, By: "hook", Detail: said.Said})

	return Done{Out: out, Said: said.Said}, err
}

// line is how far the vault of the region that takes over has the old side's log: on
// the timeline of the standby, and not behind what the standby has.
func (a *Activities) line(ctx context.Context, d plan.Definition, id targets.ShardID) (steps.Line, error) {
	in, driver, err := a.instance(ctx, id, d.To)
	if err != nil {
		return steps.Line{}, err
	}

	st, err := driver.Reach(ctx, in)
	if err != nil {
		return steps.Line{}, err
	}

	at, gap, history, err := a.archived(ctx, d.To, id, st.Position)
	if err != nil {
		return steps.Line{}, err
	}

	if gap {
		return steps.Line{}, lacks(d.To, id, at)
	}

	return steps.Line{At: at, History: history}, nil
}

// archived is the end of what a vault holds from a position on without a gap; gap says
// that it holds more behind one. The position itself where it holds nothing more.
func (a *Activities) archived(ctx context.Context, region string, id targets.ShardID, from targets.Position) (at targets.Position, gap bool, history []byte, err error) {
	v, err := a.Platform.Vault(ctx, region)
	if err != nil {
		return at, false, nil, err
	}

	span := targets.Span{Timeline: from.Timeline, From: from.Offset, To: math.MaxInt64}

	ls, err := stream.NewTrail(v, id).Load(ctx, stream.Lead{Spans: []targets.Span{span}})
	if err != nil {
		return at, false, nil, err
	}

	at = from
	for _, l := range ls {
		for _, c := range l.Chunks {
			if c.From > at.Offset {
				return at, true, nil, nil
			}
			at.Offset = max(at.Offset, c.To)
		}
	}

	history, err = stream.NewReader(v, id).History(ctx, from.Timeline)
	if fail.Is(err, fail.NotFound) {
		err = nil // what the standby says itself is then all that is known
	}

	return at, false, history, err
}

func lacks(region string, id targets.ShardID, at targets.Position) error {
	return fail.New(fail.NotFound, op, id.String(), "try again; or give the part up: the standby's own log ends before it",
		fmt.Errorf("the vault of %s lacks log behind %s and has some after it", region, at))
}

// feed gives a standby what the vault has beyond it.
func (a *Activities) feed(ctx context.Context, d plan.Definition, s plan.StepDef) (Done, error) {
	region := d.To
	if s.With.Feed != nil && s.With.Feed.Vault != "" {
		region = s.With.Feed.Vault
	}

	in, driver, err := a.instance(ctx, s.On, d.To)
	if err != nil {
		return Done{}, err
	}

	st, err := driver.Reach(ctx, in)
	if err != nil {
		return Done{}, err
	}

	to, gap, _, err := a.archived(ctx, region, s.On, st.Position)
	if err != nil {
		return Done{}, err
	}

	if gap {
		return Done{}, lacks(region, s.On, to)
	}

	if to.Offset <= st.Position.Offset {
		return Done{Said: fmt.Sprintf("the vault of %s has no more than the standby: %s", region, st.Position)}, nil
	}

	feeder, ok := driver.(handover.Feeder)
	if !ok {
		return Done{}, fail.New(fail.Unsupported, op, in.String(), "skip the step with a reason to accept the loss, or recover from the vault",
			fmt.Errorf("the vault has %d bytes more than the standby, and stores of this kind cannot be fed", to.Offset-st.Position.Offset))
	}

	v, err := a.Platform.Vault(ctx, region)
	if err != nil {
		return Done{}, err
	}

	path := []targets.Span{{Timeline: to.Timeline, From: st.Position.Offset, To: to.Offset}}

	at, err := feeder.Feed(ctx, handover.FeedRequest{Standby: in, To: to, Path: path, Log: stream.NewSource(v, s.On)})
	if err != nil {
		return Done{}, err
	}

	return Done{Said: fmt.Sprintf("fed from %s to %s", st.Position, at)}, nil
}

// verify shows that the new side takes writes.
func (a *Activities) verify(ctx context.Context, d plan.Definition, s plan.StepDef) (Done, error) {
	in, driver, err := a.instance(ctx, s.On, d.To)
	if err != nil {
		return Done{}, err
	}

	st, err := driver.Reach(ctx, in)
	if err != nil {
		return Done{}, err
	}

	if !st.Writable {
		return Done{}, fail.New(fail.Unverified, op, in.String(), "see drctl status", errors.New("it does not take writes"))
	}

	return Done{Said: fmt.Sprintf("%s at %s", st.Role, st.Position)}, nil
}

// rejoin makes the side that was left, or that is to take over again, a standby of
// the present primary. A log that went on by itself is not undone here.
func (a *Activities) rejoin(ctx context.Context, d plan.Definition, s plan.StepDef) (Done, error) {
	if !s.Kind.Traits().Log {
		return Done{Said: "both sides take writes: there is nothing to follow"}, nil
	}
	// The step's region is where the instance is that comes back.
	old, other := s.Region, d.To
	if old == d.To {
		other = d.From
	}

	sw, err := a.switcher(s.Kind)
	if err != nil {
		return Done{}, err
	}

	req := handover.RejoinRequest{}
	if req.Old, err = a.Platform.Instance(ctx, s.On, old); err != nil {
		return Done{}, err
	}

	if req.New, err = a.Platform.Instance(ctx, s.On, other); err != nil {
		return Done{}, err
	}
	stop, start := a.Platform.Host(s.On, old)
	req.Host = handover.HostCommands{Stop: stop, Start: start}

	out, err := sw.Rejoin(ctx, req)
	if err != nil {
		return Done{}, err
	}

	return Done{Said: fmt.Sprintf("it came back %s %v", out.Method, out.Warnings)}, nil
}

// inDoubt lists what is prepared on the new side of a shard.
func (a *Activities) inDoubt(ctx context.Context, d plan.Definition, id targets.ShardID) ([]string, error) {
	in, driver, err := a.instance(ctx, id, d.To)
	if err != nil {
		return nil, err
	}

	t, ok := driver.(handover.InDoubtTeller)
	if !ok {
		return nil, nil // stores of this kind prepare nothing
	}

	return t.InDoubt(ctx, in)
}
