package approving

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"drctl/internal/approval"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/runs"
)

// Name is what the activity is registered under.
const Name = "CheckApprovals"

// In is one more yes to a step that wants approvals.
type In struct {
	Run     string           `json:"run"`
	Plan    plan.Ref         `json:"plan"`
	Step    string           `json:"step"`
	Subject approval.Subject `json:"subject"`
	// Kept are those that counted before, and Given is the new one.
	Kept  []approval.Approval `json:"kept,omitempty"`
	Given *approval.Approval  `json:"given,omitempty"`
	// Glass asks to do without, for the reason, by whom.
	Glass  bool   `json:"break_glass,omitempty"`
	By     string `json:"by"`
	Reason string `json:"reason,omitempty"`
	// Now is the engine's clock.
	Now time.Time `json:"now"`
}

// Out is what became of it.
type Out struct {
	// Signed says that the configuration names people, whose signatures are wanted.
	Signed bool `json:"signed,omitempty"`
	// Kept are the approvals that count now, and Enough that they are.
	Kept   []approval.Approval `json:"kept,omitempty"`
	Enough bool                `json:"enough,omitempty"`
	// Broken says that the glass was broken, and that it is on the list to be reviewed.
	Broken bool `json:"broken,omitempty"`
	// Why says why the new one does not count.
	Why string `json:"why,omitempty"`
}

// Resolver is what can be reached, and who may approve.
type Resolver interface {
	platform.Resolver
	// Approvers are the people of a group whose signatures count; none wants none.
	Approvers(group string) []approval.Person
}

// Activities serves the activity of one worker.
type Activities struct {
	Platform Resolver
	Log      *slog.Logger
}

// Register registers the activity under its name.
func (a *Activities) Register(r worker.ActivityRegistry) {
	r.RegisterActivityWithOptions(a.Check, activity.RegisterOptions{Name: Name})
}

// Check judges approvals by the people and keys of this worker's own configuration: who
// starts a run cannot bring them along.
func (a *Activities) Check(ctx context.Context, in In) (Out, error) {
	out, err := a.check(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) check(ctx context.Context, in In) (Out, error) {
	d, err := inventory.LoadDefinition(ctx, a.Platform.Vault, in.Plan)
	if err != nil {
		return Out{}, err
	}

	s, ok := d.Step(in.Step)
	if !ok {
		return Out{}, fail.Newf(fail.NotFound, "recovery plan", in.Step, "the plan has no such step")
	}

	people := a.Platform.Approvers(d.Group)
	if in.Glass {
		return a.broken(ctx, in, d, Out{Signed: len(people) > 0})
	}

	need := 1
	if s.With.Approve != nil {
		need = s.With.Approve.People
	}

	return in.Judge(people, need), nil
}

// Judge counts the approvals of different people that hold now. It is pure.
func (in In) Judge(people []approval.Person, need int) Out {
	out := Out{Signed: len(people) > 0}

	switch {
	case !out.Signed:
		return out
	case in.Given == nil:
		out.Why = "it is not signed: drctl recovery approve"
		return out
	}

	// What has expired meanwhile is wanted again.
	for _, k := range in.Kept {
		if err := approval.Check(approval.Rule{Need: 1, Of: people}, in.Subject, []approval.Approval{k}, in.Now); err == nil {
			out.Kept = append(out.Kept, k)
		}
	}

	all := append(out.Kept, *in.Given)
	if slices.ContainsFunc(out.Kept, func(k approval.Approval) bool { return k.By == in.Given.By }) {
		out.Why = "it does not count: " + in.Given.By + " has approved already"
		return out
	}

	if err := approval.Check(approval.Rule{Need: len(all), Of: people}, in.Subject, all, in.Now); err != nil {
		out.Why = "it does not count: " + fail.Cause(err)
		return out
	}
	out.Kept, out.Enough = all, len(all) >= max(1, need)

	return out
}

// broken notes that a person has done without the approvals that are wanted. Only what is on
// the list counts.
func (a *Activities) broken(ctx context.Context, in In, d plan.Definition, out Out) (Out, error) {
	if strings.TrimSpace(in.Reason) == "" || in.By == "" {
		out.Signed, out.Why = true, "who breaks the glass says why"
		return out, nil
	}

	set, err := a.Platform.Set(ctx, d.Group, d.To)
	if err != nil {
		return out, err
	}

	if set, err = set.Answering(ctx); err != nil {
		return out, err
	}
	set.Durability = 1 // on the worst day there is one vault

	_, err = set.SaveReport(ctx, runs.GlassKind(d.Group), runs.GlassID(in.Run, in.Step), runs.Glass{Run: in.Run, Step: in.Step, Group: d.Group, Mode: d.Mode, From: d.From, To: d.To,
		Plan: in.Plan.SHA256, By: in.By, Reason: in.Reason, At: in.Now})
	if err != nil && !fail.Is(err, fail.Conflict) { // an attempt before has kept it
		return out, err
	}

	a.Log.ErrorContext(ctx, "the glass was broken: a recovery goes on without the approvals that are wanted", "run", in.Run, "group", d.Group, "step", in.Step, "by", in.By, "reason", in.Reason)
	out.Broken = true

	return out, nil
}
