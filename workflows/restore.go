package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/restore"
	"drctl/targets"
)

// RestoreIn is a plan that somebody has seen, and where it runs.
type RestoreIn struct {
	Plan restore.Plan `json:"plan"`
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
	Sandbox  activities.SandboxRef `json:"sandbox,omitzero"`
	Steps    []activities.StepOut  `json:"steps"`
	NotRun   []string              `json:"not_run,omitempty"`
	Failed   []string              `json:"failed,omitempty"` // ids of failed steps
	Started  time.Time             `json:"started"`
	Finished time.Time             `json:"finished"`
	// LeftOver says why the sandbox is still there although it was to go.
	LeftOver string `json:"left_over,omitempty"`
}

// Restore interprets a plan. A failed step stops what needs it and nothing
// else; the outcome lists every step. A cancelled or failed sandbox restore
// removes its sandbox.
func Restore(ctx workflow.Context, in RestoreIn) (out RestoreOut, err error) {
	out.Started = workflow.Now(ctx).UTC()
	if in.Plan.Goal.Into == restore.Sandbox {
		out.Sandbox, err = openSandbox(ctx, in.Queue, in.Plan.ID, "restore")
		if err != nil {
			return out, err
		}
		defer func() {
			if !in.Discard && err == nil {
				return
			}
			out.LeftOver = closeSandbox(ctx, out.Sandbox)
		}()
	}
	r := runPlan(ctx, in, out.Sandbox)
	out.Steps, out.NotRun, out.Failed = r.done, r.notRun, r.failed
	out.Finished = workflow.Now(ctx).UTC()
	return out, ctx.Err()
}

func openSandbox(ctx workflow.Context, queue, id, purpose string) (activities.SandboxRef, error) {
	var box activities.SandboxRef
	err := workflow.ExecuteActivity(quick(ctx, queue), activities.OpenSandboxName, activities.SandboxIn{ID: id, Purpose: purpose}).Get(ctx, &box)
	return box, err
}

// closeSandbox removes a sandbox even when the workflow is being cancelled,
// and returns what is left over, if anything.
func closeSandbox(ctx workflow.Context, box activities.SandboxRef) string {
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	if err := workflow.ExecuteActivity(quick(dctx, box.Queue), activities.CloseSandboxName, box).Get(dctx, nil); err != nil {
		return "sandbox " + box.ID + " (" + box.Dir + "): " + err.Error()
	}
	return ""
}

type planRun struct {
	done   []activities.StepOut
	notRun []string
	failed []string
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
			ready := func() bool {
				for _, n := range step.Needs {
					if state[n] == "" {
						return false
					}
				}
				return true
			}
			if err := workflow.Await(ctx, ready); err != nil {
				state[step.ID] = "failed"
				run.notRun = append(run.notRun, step.ID)
				return
			}
			for _, n := range step.Needs {
				if state[n] == "failed" {
					state[step.ID] = "failed"
					run.notRun = append(run.notRun, step.ID)
					return
				}
			}
			if err := sem.Acquire(ctx, 1); err != nil {
				state[step.ID] = "failed"
				run.notRun = append(run.notRun, step.ID)
				return
			}
			defer sem.Release(1)
			res := runStep(ctx, in, step, box)
			run.done = append(run.done, res)
			state[step.ID] = "done"
			if res.Error != "" {
				state[step.ID] = "failed"
				run.failed = append(run.failed, step.ID)
			}
		})
	}
	wg.Wait(ctx)
	return run
}

func runStep(ctx workflow.Context, in RestoreIn, step restore.Step, box activities.SandboxRef) activities.StepOut {
	queue, name := in.Queue, activities.RestoreShardName
	if box.Queue != "" {
		queue = box.Queue
	}
	if step.Into.Region != "" {
		queue = in.Queues[step.Into.Region]
	}
	if step.Op == restore.OpVerify {
		name = activities.VerifyShardName
	}
	arg := activities.StepIn{PlanID: in.Plan.ID, Vault: in.Plan.Goal.Vault, Delta: in.Plan.Goal.Delta, Step: step,
		Sandbox: box, Quick: in.Quick}
	if step.Op == restore.OpVerify {
		arg.Assertions = append(arg.Assertions, in.Assertions[step.Shard.Target]...)
		arg.Assertions = append(arg.Assertions, in.Assertions[step.Shard.String()]...)
	}
	res := activities.StepOut{StepID: step.ID, Shard: step.Shard, Op: step.Op, Started: workflow.Now(ctx).UTC()}
	started := res.Started
	err := workflow.ExecuteActivity(long(ctx, queue, step.Limit, 10), name, arg).Get(ctx, &res)
	if err != nil {
		res.Error = err.Error()
		res.Started, res.Finished = started, workflow.Now(ctx).UTC()
	}
	for _, f := range res.Findings {
		if f.Severity == targets.Failed && res.Error == "" {
			res.Error = "check failed: " + f.Check + " on " + f.Subject
		}
	}
	return res
}
