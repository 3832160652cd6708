package actions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"drctl/activities/onhost"
	"drctl/internal/fail"
	"drctl/internal/silence"
	"drctl/internal/stream"
	"drctl/restore/ahead"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

// fenced is what shows that the old side of a shard is silent.
type fenced struct {
	handover.Silence
	// Proof is that of a guard.
	Proof *silence.Proof `json:"proof,omitempty"`
}

// fence proves that the old side of a shard is silent, by the first way of the plan that
// does: a program of the platform's own, its guard's lease. Without one only a person can
// vouch for it.
func (a *Activities) fence(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (Done, error) {
	old, err := a.Platform.Instance(ctx, s.On, d.From)
	if err != nil {
		return Done{}, err
	}

	if s.With.Fence == nil {
		return Done{}, fail.Newf(fail.Invalid, op, s.ID, "it names no proof")
	}

	var why []error
	if s.With.Fence.Hook == nil {
		why = append(why, fmt.Errorf(plan.NoHook+" %s", old))
	}

	for _, by := range s.With.Fence.By {
		var f fenced

		switch by {
		case plan.ByHook:
			f, err = hooked(ctx, d, s, old)
		case plan.ByGuard:
			f, err = a.guardLeft(ctx, c, d, s)
		default:
			continue
		}

		if err != nil {
			why = append(why, fmt.Errorf("by %s: %w", by, err))
			continue
		}

		if err := a.mute(ctx, d, s.On); err != nil {
			return Done{}, err
		}
		f.Instance, f.Epoch = old.String(), c.Epoch
		out, err := json.Marshal(f)

		return Done{Out: out, Said: f.Detail}, err
	}

	return Done{}, fail.New(fail.Denied, op, s.ID, "make sure yourself that it takes no writes and cannot come back to take any, and vouch for that with a reason; or name a program with --fence",
		errors.Join(why...))
}

// hooked has the platform's program take power or network away. It is told which server
// is meant.
func hooked(ctx context.Context, d plan.Definition, s plan.StepDef, old targets.Instance) (fenced, error) {
	said, err := program(ctx, s.ID, s.With.Fence.Hook, "DRCTL_SHARD="+s.On.String(), "DRCTL_INSTANCE="+old.String(), "DRCTL_ADDRESS="+old.Address, "DRCTL_REGION="+d.From)

	return fenced{Silence: handover.Silence{Kind: handover.SilentHook, By: "hook", Detail: said.Said}}, err
}

// guardLeft is the proof by the guard beside the old side.
func (a *Activities) guardLeft(ctx context.Context, c Call, d plan.Definition, s plan.StepDef) (fenced, error) {
	p, err := a.guardProof(ctx, c, d, s)
	if err != nil {
		return fenced{}, err
	}
	text := fmt.Sprintf("guard %s answered for it; its lease of %s is over, which was waited for %s", p.Guard.Guard, p.Guard.Lease, p.Guard.Waited.Round(time.Millisecond))

	return fenced{Silence: handover.Silence{Kind: handover.SilentLease, By: "guard " + p.Guard.Guard, Detail: text}, Proof: &p}, nil
}

// feedsInSection is how often a standby is fed once more with what its vault has got since its feed: an archiver of a lost
// side may be late, and has little left.
const feedsInSection = 3

// line is the end of the old side's log as the vault of the region that takes over has
// it. A standby that is not on that line is not promoted.
func (a *Activities) line(ctx context.Context, c Call, d plan.Definition, id targets.ShardID) (ahead.Line, error) {
	step := ahead.FeedOf(d, id)
	givenUp := c.Waived[step.ID] != "" // with a reason; where the line ends is known all the same

	had, err := ahead.HadFed(c.Outs[step.ID])
	if err != nil {
		return ahead.Line{}, err
	}

	for feeds := 0; ; feeds++ {
		k, err := a.ahead(ctx, d.To, d.To, id)
		if err != nil && (!givenUp || k.line.At.Timeline == "") {
			return k.line, err
		}

		if len(k.path) == 0 || givenUp || had.All(k.line.At, k.at) {
			k.line.Heard = ahead.Heard(ctx, k.driver, k.standby)

			return k.line, errors.Join(ahead.OnLine(ctx, k.driver, k.standby, k.at, k.line.At), a.mute(ctx, d, id))
		}

		done, ferr := Done{}, error(nil)
		if feeds < feedsInSection {
			done, ferr = a.feed(ctx, d, step)
		}

		if had, err = ahead.HadFed(done.Out); err != nil || ferr != nil || feeds == feedsInSection {
			return k.line, fail.New(fail.Stalled, op, k.standby.String(), "run it again: it is fed then", errors.Join(err, ferr, fmt.Errorf("the vault of %s has got log up to %s meanwhile, and the standby is at %s", d.To, k.line.At, k.at)))
		}
	}
}

// askOld is how long the old side has to answer, if it is there.
const askOld = 3 * time.Second

// mute asks the old side itself: whatever a program or a person says, a server that
// answers and takes writes is not silent, and neither is one that is just starting, or too
// busy for this question. No answer proves nothing and is none.
func (a *Activities) mute(ctx context.Context, d plan.Definition, id targets.ShardID) error {
	in, driver, err := a.instance(ctx, id, d.From)
	if err != nil {
		return err
	}

	ctx, stop := context.WithTimeout(ctx, askOld)
	defer stop()

	st, err := driver.Reach(ctx, in)
	if !st.Writable && fail.Answered(err) && !st.Reachable {
		return fail.New(fail.Denied, op, in.String(), "fence it, or wait until it says what it is", fmt.Errorf("it was said to be silent, and it answers: %w", err))
	}

	if st.Writable {
		return fail.New(fail.Denied, op, in.String(), "fence it; or leave the region in order: drctl switchover run", errors.New("it was said to be silent, and it answers and takes writes"))
	}

	return nil
}

// archived is what a vault has of the log of a shard's old side.
type archived struct {
	line    ahead.Line
	standby targets.Instance
	driver  targets.Driver
	at      targets.Position // of the standby
	path    []targets.Span   // from there to the end; none when there is no more
}

// ahead holds what a vault has against where the standby of a region stands. A gap
// behind the standby is an error, and never the end.
func (a *Activities) ahead(ctx context.Context, to, region string, id targets.ShardID) (k archived, err error) {
	if k.standby, k.driver, err = a.instance(ctx, id, to); err != nil {
		return k, err
	}

	if k.at, err = ahead.Place(ctx, k.driver, k.standby); err != nil {
		return k, err
	}

	v, err := a.Platform.Vault(ctx, region)
	if err != nil {
		return k, err
	}

	k.line, k.path, err = ahead.Of(ctx, v, id, k.at)

	return k, err
}

// feed gives a standby what the vault has beyond it.
func (a *Activities) feed(ctx context.Context, d plan.Definition, s plan.StepDef) (Done, error) {
	region := d.To
	if s.With.Feed != nil && s.With.Feed.Vault != "" {
		region = s.With.Feed.Vault
	}

	k, err := a.ahead(ctx, d.To, region, s.On)
	if err != nil {
		return Done{}, err
	}

	if err := onhost.Beside(a.Host, k.standby); err != nil {
		return Done{}, err
	}

	if len(k.path) == 0 {
		return Done{Said: fmt.Sprintf("the standby is at %s, the vault of %s ends at %s", k.at, region, k.line.At)}, nil
	}

	v, err := a.Platform.Vault(ctx, region)
	if err != nil {
		return Done{}, err
	}

	if err := ahead.Held(ctx, v, s.On, k.path); err != nil {
		return Done{}, err
	}

	feeder, ok := k.driver.(handover.Feeder)
	if !ok {
		return Done{}, fail.New(fail.Unsupported, op, k.standby.String(), "skip the step with a reason to accept the loss, or recover from the vault",
			fmt.Errorf("the vault has more than the standby, from %s to %s, and stores of this kind cannot be fed", k.at, k.line.At))
	}

	at, err := feeder.Feed(ctx, handover.FeedRequest{Standby: k.standby, To: k.line.At, Path: k.path, Log: stream.NewSource(v, s.On)})
	if err != nil {
		return Done{}, err
	}

	out, err := json.Marshal(ahead.Fed{To: k.line.At, At: at})

	return Done{Out: out, Said: fmt.Sprintf("fed from %s to %s", k.at, at)}, err
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
