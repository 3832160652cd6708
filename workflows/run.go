package workflows

import (
	"cmp"
	"context"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows/unserved"
)

// planRun is what came of the steps of a plan.
type planRun struct {
	done       []plan.StepOut // brief, in the order in which they ended
	notRun     []plan.NotRun
	failed     []string
	unverified []string
	unchecked  []string
}

// runPlan lets the machine interpret the plan: it does what the machine says and
// tells it what happened. Whatever is decided is decided there.
func runPlan(ctx workflow.Context, in RestoreIn, box activities.SandboxRef) (planRun, error) {
	m, err := machine.New(in.Order)
	if err != nil {
		return planRun{}, engine.EncodeError(err)
	}

	// Running steps come to their end when the workflow is cancelled. They
	// are waited for with a context that is not cancelled.
	waiting, release := workflow.NewDisconnectedContext(ctx)
	defer release()
	r := &runner{in: in, box: box, ended: workflow.NewBufferedChannel(ctx, len(in.Order.Steps))}

	var first machine.Event = machine.Begin{}
	if ctx.Err() != nil {
		first = machine.Cancelled{}
	}

	state, commands := m.Next(machine.State{}, first)
	for !r.obey(ctx, commands) {
		var event machine.Event
		pick := workflow.NewSelector(ctx)
		pick.AddReceive(r.ended, func(c workflow.ReceiveChannel, _ bool) {
			var out plan.StepOut
			c.Receive(waiting, &out)
			event = r.note(out)
		})

		if !state.Cancelled {
			pick.AddReceive(ctx.Done(), func(workflow.ReceiveChannel, bool) { event = machine.Cancelled{} })
		}

		pick.Select(waiting)
		state, commands = m.Next(state, event)
	}

	return r.planRun, nil
}

// runner does what the machine says.
type runner struct {
	planRun
	in    RestoreIn
	box   activities.SandboxRef
	ended workflow.Channel // of plan.StepOut
}

// obey carries commands out and reports whether the run is finished.
func (r *runner) obey(ctx workflow.Context, commands []machine.Command) (finished bool) {
	for _, c := range commands {
		switch c := c.(type) {
		case machine.Do:
			workflow.Go(ctx, func(ctx workflow.Context) {
				r.ended.Send(ctx, r.do(ctx, c.Step))
			})
		case machine.Skip:
			r.notRun = append(r.notRun, plan.NotRun{StepID: c.Step, Why: c.Why})
		case machine.Finish:
			finished = true
		}
	}

	return finished
}

// note keeps a step's outcome, and tells the machine whether the step failed. A
// check that found something wrong has done its work: it stops nothing.
func (r *runner) note(out plan.StepOut) machine.Event {
	r.done = append(r.done, out)

	switch {
	case out.Error != "":
		r.failed = append(r.failed, out.StepID)
	case out.Tally().Failed > 0:
		r.unverified = append(r.unverified, out.StepID)
	case out.Op == plan.OpVerify && !out.Verified():
		r.unchecked = append(r.unchecked, out.StepID)
	}

	return machine.Ended{Step: out.StepID, Failed: out.Error != ""}
}

// do calls the activity of a step and returns its brief outcome.
func (r *runner) do(ctx workflow.Context, step plan.Node) plan.StepOut {
	queue, name := r.in.Queue, activities.RestoreShardName
	region := cmp.Or(step.Region, unserved.RegionOf(r.in.Queues, queue))

	if r.box.Queue != "" {
		queue = r.box.Queue
	}

	if step.Region != "" {
		queue = r.in.Queues[step.Region]
	}

	if r.box.Queue == "" {
		queue = platform.Queue(queue, step.Host, platform.Base)
	}

	arg := activities.StepIn{Run: r.in.Run.Step(step.ID), StepID: step.ID, Sandbox: r.box, Quick: r.in.Quick}
	if step.Op == plan.OpVerify {
		name = activities.VerifyShardName
		arg.Assertions = assertionsOf(r.in.Assertions, step.Shard)
	}

	// A step begins when it is first asked for, however often it is tried.
	started := workflow.Now(ctx).UTC()

	var out plan.StepOut
	if err := workflow.ExecuteActivity(longRunning(ctx, queue, step.Limit, 10), name, arg).Get(ctx, &out); err != nil {
		return plan.StepOut{StepID: step.ID, Shard: step.Shard, Op: step.Op, Started: started, Finished: workflow.Now(ctx).UTC(), Attempt: attempts(err),
			Error: errorText(unserved.Said(err, region, queue))}
	}

	if out.Attempt > 1 {
		out.Started = started
	}

	return out.Brief()
}

// assertionsOf are those of a shard's target and its own.
func assertionsOf(all map[string][]targets.Assertion, s targets.ShardID) (out []targets.Assertion) {
	out = append(out, all[s.Target]...)

	return append(out, all[s.String()]...)
}

// Detailed gives the steps of an outcome back what they found and did, which the
// engine's history of the run has. It fails when the history lacks some of it:
// then a caller knows the verdicts, but not the reasons.
func Detailed(ctx context.Context, c client.Client, workflowID, runID string, out *RestoreOut) error {
	runs, err := engine.ActivityRuns(ctx, c, workflowID, runID)
	if err != nil {
		return err
	}

	if missing := activities.Detail(out.Steps, runs); len(missing) > 0 {
		return fail.Newf(fail.NotFound, "engine: history", workflowID, "it lacks what was found by %v", missing)
	}

	return nil
}
