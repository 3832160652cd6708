package gamedays

import (
	"context"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/activities/outside"
	"drctl/activities/planned"
	"drctl/drills/gameday"
	"drctl/internal/approval"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/vault"
	"drctl/restore/plan"
)

// askEvery is how often a check is asked again that is not yet as it is wanted, and
// maxWords how much of an answer crosses the engine, in bytes.
const (
	askEvery = time.Second
	maxWords = 1024
)

// AskIn is a check of the drill.
type AskIn struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	// Kind is gameday.RedQuiet, RedWentOff, Expected or Stopped, and Index the place among
	// those. A reason to stop is asked once.
	Kind  string `json:"kind"`
	Index int    `json:"index"`
}

// find is the check that is meant, what it has to be, and for how long it is waited for.
func (in AskIn) find(d gameday.Definition) (k gameday.Check, want bool, within time.Duration, err error) {
	switch {
	case in.Kind == gameday.RedQuiet && d.Red != nil:
		return *d.Red, false, 0, nil // asked once: it has to be quiet already
	case in.Kind == gameday.RedWentOff && d.Red != nil:
		return *d.Red, true, d.Red.Within, nil
	case in.Kind == gameday.Expected && in.Index >= 0 && in.Index < len(d.Expect):
		k = d.Expect[in.Index]
		return k, !k.Not, k.Within, nil
	case in.Kind == gameday.Stopped && in.Index >= 0 && in.Index < len(d.Stop):
		k = d.Stop[in.Index]
		return k, k.Not, 0, nil
	}

	return k, false, 0, fail.Newf(fail.NotFound, op, d.Name, "the drill has no such check")
}

// Ask asks a check until it is as it is wanted, or until its time is up. That it could not be asked is
// in the answer.
func (a *Activities) Ask(ctx context.Context, in AskIn) (gameday.Answer, error) {
	d, err := a.same(in.Name, in.Hash)
	if err != nil {
		return gameday.Answer{}, engine.EncodeError(err)
	}

	k, want, within, err := in.find(d)
	if err != nil {
		return gameday.Answer{}, engine.EncodeError(err)
	}

	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	begun := time.Now()
	if info := activity.GetInfo(ctx); info.Attempt > 1 { // an attempt before has waited already
		begun = info.ScheduledTime
	}

	for end := begun.Add(within); ; {
		x := a.ask(ctx, d, k)
		if x.Error == "" && x.So == want || ctx.Err() != nil || !time.Now().Add(askEvery).Before(end) {
			return x, ctx.Err()
		}

		select {
		case <-ctx.Done():
		case <-time.After(askEvery):
		}
	}
}

// ask asks once.
func (a *Activities) ask(ctx context.Context, d gameday.Definition, k gameday.Check) (x gameday.Answer) {
	var err error

	if len(k.Exec) > 0 {
		x.Words, err = outside.Program(ctx, "check", &plan.Exec{Command: k.Exec}, "DRCTL_DRILL="+d.Name)
		if x.So = err == nil; fail.Is(err, fail.Unverified) { // it says no
			x.Words, err = fail.Cause(err), nil
		}
	} else {
		x.So, x.Words, err = a.Platform.Ask(ctx, activity.GetClient(ctx), d, k)
	}

	x.At, x.Words = time.Now().UTC(), short(x.Words)
	if err != nil {
		x.So, x.Error = false, short(err.Error())
	}

	return x
}

func short(s string) string {
	return strings.ToValidUTF8(human.Clean(s[:min(len(s), maxWords)]), "")
}

// GuardIn asks for the stop conditions of a drill to be looked at.
type GuardIn struct {
	Name string `json:"name"`
	Hash string `json:"hash"`
	// Recover is the id of recoveries of its group.
	Recover string `json:"recover"`
}

// Guarded is why a drill has to end: a stop condition that is so, or a recovery that goes before it.
type Guarded struct {
	gameday.Answered
	Yield string `json:"yield,omitempty"`
}

// Guard looks at the stop conditions, and for a recovery that is not the drill's own, until something ends the drill. A
// condition that cannot be asked stops nothing: a fault may be what keeps it from being asked.
func (a *Activities) Guard(ctx context.Context, in GuardIn) (Guarded, error) {
	d, err := a.same(in.Name, in.Hash)
	if err != nil {
		return Guarded{}, engine.EncodeError(err)
	}

	stop := planned.Beat(ctx, planned.Nothing)
	defer stop()

	for ctx.Err() == nil {
		if err := recovering(ctx, in.Recover); fail.Is(err, fail.Conflict) {
			return Guarded{Yield: fail.Cause(err)}, nil
		}

		for _, k := range d.Stop {
			if x := a.ask(ctx, d, k); x.Error == "" && x.So != k.Not && ctx.Err() == nil {
				x.So = true
				return Guarded{Answered: gameday.Answered{Kind: gameday.Stopped, Check: k, Answer: x}}, nil
			}
		}

		select {
		case <-ctx.Done():
		case <-time.After(askEvery):
		}
	}

	return Guarded{}, ctx.Err()
}

// Approvals are those of a drill with its plan that the vaults hold. Whether they count is for the
// gates to say.
func Approvals(ctx context.Context, set vault.Set, d gameday.Definition, hash string) (out []approval.Approval, err error) {
	want := d.Subject(hash)

	for _, v := range set.Vaults {
		ids, err := v.Reports(ctx, gameday.ApprovalKind(d.Name))
		if err != nil {
			return nil, err
		}

		for _, id := range ids {
			var x approval.Approval
			if err := v.Report(ctx, gameday.ApprovalKind(d.Name), id, &x); err != nil {
				return nil, err
			}

			if x.Subject == want {
				out = append(out, x)
			}
		}
	}

	return out, nil
}
