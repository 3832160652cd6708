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
)

// RestoreIn is a plan that somebody has seen, and where it runs.
type RestoreIn struct {
	Plan plan.Run `json:"plan"`
	// Queue serves the region that restores: the vault's.
	Queue string `json:"queue"`
	// Queues are the task queues by region, for steps that run elsewhere.
	Queues map[string]string `json:"queues,omitempty"`
	// Window is how many shards are restored at once; 0 means 4.
	Window int `json:"window"`
	// Quick leaves out the checks that read every byte.
	Quick bool `json:"quick"`
	// Discard removes the sandbox at the end whatever happened.
	Discard bool `json:"discard"`
	// Assertions are checked by "target" (every shard of it) or "target/shard".
	Assertions map[string][]targets.Assertion `json:"assertions,omitempty"`
}

// RestoreOut is what a plan did, step by step.
type RestoreOut struct {
	Sandbox activities.SandboxRef `json:"sandbox,omitzero"`
	Steps   []plan.StepOut        `json:"steps"`
	NotRun  []plan.NotRun         `json:"not_run,omitempty"`
	// Failed are the ids of the steps that could not be done, Unverified those
	// of the steps that were done and found something wrong, Unchecked those of
	// verifications in which no check could run.
	Failed     []string  `json:"failed,omitempty"`
	Unverified []string  `json:"unverified,omitempty"`
	Unchecked  []string  `json:"unchecked,omitempty"`
	Started    time.Time `json:"started"`
	Finished   time.Time `json:"finished"`
	// LeftOver says why the sandbox is still there although it was to go.
	LeftOver string `json:"left_over,omitempty"`
}

// Restore interprets a plan. A failed step stops what needs it and nothing
// else; the outcome lists every step. A check that finds something wrong stops
// nothing. A sandbox restore that is cancelled, or that was refused, removes
// its sandbox; when that fails, the error says what is left over.
func Restore(ctx workflow.Context, in RestoreIn) (out RestoreOut, err error) {
	out.Started = workflow.Now(ctx).UTC()
	if in.Plan.Goal.Into == plan.Sandbox {
		out.Sandbox, err = openSandbox(ctx, in.Queue, in.Plan.ID, "restore")
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
		gate, gerr := checkSpace(ctx, in.Plan, out.Sandbox)
		if gerr != nil {
			return out, gerr
		}
		if !gate.Passed {
			return out, refused(in.Plan, gate)
		}
	}
	r := runPlan(ctx, in, out.Sandbox)
	out.Steps, out.NotRun, out.Failed, out.Unverified, out.Unchecked = r.done, r.notRun, r.failed, r.unverified, r.unchecked
	out.Finished = workflow.Now(ctx).UTC()
	if ctx.Err() == nil && out.Sandbox.ID != "" && !in.Discard {
		// It comes after hours of work, which a host that is away for a while must
		// not cost.
		return out, keepSandbox(ctx, out.Sandbox, time.Time{}, 360)
	}
	return out, ctx.Err()
}

// leftOver says with the error that a sandbox could not be removed: the result
// of a workflow that fails is lost. A cancelled one ends as cancelled, and the
// log has it.
func leftOver(ctx workflow.Context, out RestoreOut, err error) error {
	workflow.GetLogger(ctx).Error("left over", "what", out.LeftOver)
	if ctx.Err() != nil {
		return temporalCanceled(out.LeftOver)
	}
	return engine.EncodeError(fail.New(fail.CodeOf(engine.DecodeError(err)), "restore", out.LeftOver,
		"remove it with: drctl sandbox rm "+out.Sandbox.ID, engine.DecodeError(err)))
}

func openSandbox(ctx workflow.Context, queue, id, purpose string) (activities.SandboxRef, error) {
	var box activities.SandboxRef
	err := workflow.ExecuteActivity(awaited(ctx, queue), activities.OpenSandboxName, activities.SandboxIn{ID: id, Purpose: purpose}).Get(ctx, &box)
	return box, err
}

// keepSandbox puts on record that a sandbox outlives this workflow: until an
// instant, or with the zero time until somebody removes it.
func keepSandbox(ctx workflow.Context, box activities.SandboxRef, until time.Time, attempts int32) error {
	opt := workflow.GetActivityOptions(awaited(ctx, box.Queue))
	opt.ScheduleToStartTimeout, opt.RetryPolicy.MaximumAttempts = 10*time.Minute, attempts
	return workflow.ExecuteActivity(workflow.WithActivityOptions(ctx, opt), activities.KeepSandboxName, activities.KeepIn{Sandbox: box, Until: until}).Get(ctx, nil)
}

// checkSpace asks the sandbox's host whether the plan fits.
func checkSpace(ctx workflow.Context, run plan.Run, box activities.SandboxRef) (evidence.Precheck, error) {
	in := activities.SpaceIn{Sandbox: box, Need: run.Bytes()}
	for _, s := range run.Steps {
		if s.Op == plan.OpRestore && s.Kind == targets.S3 && s.Objects == 0 {
			in.Uncounted = append(in.Uncounted, s.Shard.String())
		}
	}
	var gate evidence.Precheck
	err := workflow.ExecuteActivity(quick(ctx, box.Queue), activities.CheckSpaceName, in).Get(ctx, &gate)
	return gate, err
}

// refused is the error of a plan that does not fit.
func refused(run plan.Run, g evidence.Precheck) error {
	return engine.EncodeError(fail.New(fail.Exhausted, "restore: "+g.Name, run.ID,
		"make room, put sandbox.dir on a larger volume, raise sandbox.max_bytes, or restore fewer shards", errors.New(g.Detail)))
}

// closeSandbox removes a sandbox even when the workflow is being cancelled,
// and returns what is left over, if anything.
func closeSandbox(ctx workflow.Context, box activities.SandboxRef) string {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if err := workflow.ExecuteActivity(long(dctx, box.Queue, time.Hour, 5), activities.CloseSandboxName, box).Get(dctx, nil); err != nil {
		return "sandbox " + box.ID + " (" + box.Dir + "): " + text(err)
	}
	return ""
}

type planRun struct {
	done       []plan.StepOut
	notRun     []plan.NotRun
	failed     []string
	unverified []string
	unchecked  []string
}

// restored reports whether every restore of the plan came to its end.
func (r planRun) restored(run plan.Run) bool {
	ok := map[string]bool{}
	for _, s := range r.done {
		ok[s.StepID] = s.Error == ""
	}
	for _, s := range run.Steps {
		if s.Op == plan.OpRestore && !ok[s.ID] {
			return false
		}
	}
	return true
}

// runPlan runs every step as soon as its needs are met, at most window at once.
func runPlan(ctx workflow.Context, in RestoreIn, box activities.SandboxRef) planRun {
	window := int64(in.Window)
	if window <= 0 {
		window = 4
	}
	state := map[string]string{} // step id: "done" or "failed"
	var run planRun
	sem := workflow.NewSemaphore(ctx, window)
	wg := workflow.NewWaitGroup(ctx)
	for _, step := range in.Plan.Steps {
		wg.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer wg.Done()
			skip := func(why string) {
				state[step.ID] = "failed"
				run.notRun = append(run.notRun, plan.NotRun{StepID: step.ID, Why: why})
			}
			ready := func() bool {
				for _, n := range step.Needs {
					if state[n] == "" {
						return false
					}
				}
				return true
			}
			if err := workflow.Await(ctx, ready); err != nil {
				skip("it was cancelled")
				return
			}
			for _, n := range step.Needs {
				if state[n] == "failed" {
					skip(n + " was not done")
					return
				}
			}
			if err := sem.Acquire(ctx, 1); err != nil {
				skip("it was cancelled")
				return
			}
			defer sem.Release(1)
			res := runStep(ctx, in, step, box)
			run.done = append(run.done, res)
			state[step.ID] = "done"
			if res.Error != "" {
				state[step.ID] = "failed"
				run.failed = append(run.failed, step.ID)
			} else if len(res.FailedChecks()) > 0 {
				run.unverified = append(run.unverified, step.ID)
			} else if step.Op == plan.OpVerify && !res.Verified() {
				run.unchecked = append(run.unchecked, step.ID)
			}
		})
	}
	wg.Wait(ctx)
	return run
}

func runStep(ctx workflow.Context, in RestoreIn, step plan.Step, box activities.SandboxRef) plan.StepOut {
	queue, name := in.Queue, activities.RestoreShardName
	if box.Queue != "" {
		queue = box.Queue
	}
	if step.Into.Region != "" {
		queue = in.Queues[step.Into.Region]
	}
	if step.Op == plan.OpVerify {
		name = activities.VerifyShardName
	}
	arg := activities.StepIn{PlanID: in.Plan.ID, Vault: in.Plan.Goal.Vault, Delta: in.Plan.Goal.Delta, Step: step,
		Sandbox: box, Quick: in.Quick}
	if step.Op == plan.OpVerify {
		arg.Assertions = append(arg.Assertions, in.Assertions[step.Shard.Target]...)
		arg.Assertions = append(arg.Assertions, in.Assertions[step.Shard.String()]...)
	}
	// A step begins when it is first asked for, however often it is tried.
	started := workflow.Now(ctx).UTC()
	var res plan.StepOut
	if err := workflow.ExecuteActivity(long(ctx, queue, step.Limit, 10), name, arg).Get(ctx, &res); err != nil {
		return plan.StepOut{StepID: step.ID, Shard: step.Shard, Op: step.Op, Started: started, Finished: workflow.Now(ctx).UTC(), Attempt: attempts(err), Error: text(err)}
	}
	if res.Attempt > 1 {
		res.Started = started
	}
	return res
}
