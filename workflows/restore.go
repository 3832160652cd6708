package workflows

import (
	"errors"
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows/unserved"
)

// RestoreIn is a plan that somebody has seen, and where it runs.
type RestoreIn struct {
	Run plan.Carried `json:"run"`
	// Order is the order of the run's steps, and Into where it restores to.
	Order plan.Outline `json:"order"`
	Into  string       `json:"into"`
	// Queue serves the region that restores: the vault's.
	Queue string `json:"queue"`
	// Queues are the task queues by region, for steps that run elsewhere.
	Queues map[string]string `json:"queues,omitempty"`
	// Sandboxes is the queue of those who may open the sandbox; "" is that of the
	// workers with this role in the region that restores.
	Sandboxes string `json:"sandboxes,omitempty"`
	// Quick leaves out the checks that read every byte.
	Quick bool `json:"quick"`
	// Discard removes the sandbox at the end whatever happened.
	Discard bool `json:"discard"`
	// Assertions are checked by "target" (every shard of it) or "target/shard".
	Assertions map[string][]targets.Assertion `json:"assertions,omitempty"`
}

// RestoreOut is what a plan did, step by step. The steps are brief: Detailed
// gives them back what each of them found.
type RestoreOut struct {
	Sandbox activities.SandboxRef `json:"sandbox,omitzero"`
	Steps   []plan.StepOut        `json:"steps"`
	NotRun  []plan.NotRun         `json:"not_run,omitempty"`
	// Failed are the ids of the steps that could not be done. Unverified are
	// those that were done and found something wrong. Unchecked are the
	// verifications in which no check could run.
	Failed     []string  `json:"failed,omitempty"`
	Unverified []string  `json:"unverified,omitempty"`
	Unchecked  []string  `json:"unchecked,omitempty"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	// LeftOver says why the sandbox is still there although it was to go.
	LeftOver string `json:"left_over,omitempty"`
}

// Restore interprets a plan. A failed step stops only what needs it; the outcome
// lists every step. A check that finds something wrong stops nothing.
//
// A sandbox restore that is cancelled or refused removes its sandbox. When that
// fails, the error says what is left over.
func Restore(ctx workflow.Context, in RestoreIn) (out RestoreOut, err error) {
	out.Started = workflow.Now(ctx).UTC()
	if in.Into == plan.Sandbox {
		out.Sandbox, err = openSandbox(ctx, unserved.RegionOf(in.Queues, in.Queue), sandboxes(in.Sandboxes, in.Queue), in.Run.ID(), "restore")
		if err != nil {
			return out, err
		}
		defer func() {
			if !in.Discard && err == nil {
				return
			}

			if out.LeftOver = closeSandbox(ctx, out.Sandbox); out.LeftOver != "" && err != nil {
				err = leftOver(ctx, out, err)
			}
		}()

		gate, gerr := checkSpace(ctx, in.Order, out.Sandbox)
		if gerr != nil {
			return out, gerr
		}

		if !gate.Passed {
			return out, refused(in.Run.ID(), gate)
		}
	}

	r, err := runPlan(ctx, in, out.Sandbox)
	if err != nil {
		return out, err
	}
	out.Steps, out.NotRun, out.Failed, out.Unverified, out.Unchecked = r.done, r.notRun, r.failed, r.unverified, r.unchecked

	out.Finished = workflow.Now(ctx).UTC()
	if ctx.Err() == nil && out.Sandbox.ID != "" && !in.Discard {
		// Tried for up to an hour: a host that is away for a while must
		// not cost the record of a restore that took hours.
		return out, keepSandbox(ctx, out.Sandbox, time.Time{}, 360)
	}

	return out, ctx.Err()
}

// leftOver adds to the error that a sandbox could not be removed, because the
// result of a workflow that fails is lost. A cancelled workflow ends as
// cancelled, and the log has it.
func leftOver(ctx workflow.Context, out RestoreOut, err error) error {
	workflow.GetLogger(ctx).Error("left over", "what", out.LeftOver)

	if ctx.Err() != nil {
		return temporalCanceled(out.LeftOver)
	}

	return engine.EncodeError(fail.New(fail.CodeOf(engine.DecodeError(err)), "restore", out.LeftOver,
		"remove it with: drctl sandbox rm "+out.Sandbox.ID, engine.DecodeError(err)))
}

func openSandbox(ctx workflow.Context, region, queue, id, purpose string) (activities.SandboxRef, error) {
	var box activities.SandboxRef
	err := workflow.ExecuteActivity(mustComplete(ctx, queue), activities.OpenSandboxName, activities.SandboxIn{ID: id, Purpose: purpose}).Get(ctx, &box)

	return box, unserved.Said(err, region, queue)
}

// keepSandbox puts on record that a sandbox outlives this workflow: until an
// instant, or with the zero time until somebody removes it.
func keepSandbox(ctx workflow.Context, box activities.SandboxRef, until time.Time, attempts int32) error {
	opt := workflow.GetActivityOptions(mustComplete(ctx, box.Queue))
	opt.ScheduleToStartTimeout, opt.RetryPolicy.MaximumAttempts = 10*time.Minute, attempts

	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, opt), activities.KeepSandboxName, activities.KeepIn{Sandbox: box, Until: until}).Get(ctx, nil)
}

// checkSpace asks the sandbox's host whether the plan fits.
func checkSpace(ctx workflow.Context, order plan.Outline, box activities.SandboxRef) (evidence.Precheck, error) {
	in := activities.SpaceIn{Sandbox: box, Need: order.Bytes}
	for _, s := range order.Uncounted {
		in.Uncounted = append(in.Uncounted, s.String())
	}

	var gate evidence.Precheck
	err := workflow.ExecuteActivity(shortCall(ctx, box.Queue), activities.CheckSpaceName, in).Get(ctx, &gate)

	return gate, err
}

// refused is the error of a plan that does not fit.
func refused(id string, g evidence.Precheck) error {
	return engine.EncodeError(fail.New(fail.Exhausted, "restore: "+g.Name, id,
		"make room, put sandbox.dir on a larger volume, raise sandbox.max_bytes, or restore fewer shards", errors.New(g.Detail)))
}

// closeSandbox removes a sandbox even when the workflow is being cancelled,
// and returns what is left over, if anything.
func closeSandbox(ctx workflow.Context, box activities.SandboxRef) string {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()

	if err := workflow.ExecuteActivity(longRunning(dctx, box.Queue, time.Hour, 5), activities.CloseSandboxName, box).Get(dctx, nil); err != nil {
		return "sandbox " + box.ID + " (" + box.Dir + "): " + errorText(err)
	}

	return ""
}
