package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/drills"
	"drctl/restore/plan"
	"drctl/targets"
)

// RunDrillIn asks for a drill.
type RunDrillIn struct {
	Drill drills.Definition `json:"drill"`
	// Queue serves the region whose vault is read.
	Queue string `json:"queue"`
	// Sandboxes is the queue of those who may open the sandbox: see RestoreIn.
	Sandboxes string `json:"sandboxes,omitempty"`
	// Disaster is the instant of a (simulated) disaster, when there was one.
	Disaster time.Time `json:"disaster,omitzero"`
	// Ordered is when the recovery was ordered, set by a command that had to
	// start the engine first. Zero: when the drill started.
	Ordered time.Time `json:"ordered,omitzero"`
	// By is who asked.
	By     string `json:"by"`
	Window int    `json:"window"`
	// Keep leaves the sandbox for inspection, until somebody removes it.
	Keep bool `json:"keep"`
	// KeepFailed is how long the sandbox is left when a step or a check
	// failed; it removes itself after that. A cancelled drill leaves none,
	// whatever was asked for.
	KeepFailed time.Duration `json:"keep_failed_ns"`
}

// RunDrill restores a cut into a sandbox, checks it, measures, removes the
// sandbox and writes the report. Whatever happens in between, there is a report
// that says what happened and what did not.
func RunDrill(ctx workflow.Context, in RunDrillIn) (drills.Outcome, error) {
	fin := activities.FinishIn{Drill: in.Drill, Disaster: in.Disaster, Ordered: in.Ordered, By: in.By, Started: workflow.Now(ctx).UTC(),
		Run: workflow.GetInfo(ctx).WorkflowExecution.RunID}
	drillSteps(ctx, in, &fin)

	if ctx.Err() != nil {
		fin.Errors = append(fin.Errors, drills.CancelledText)
	}

	fin.Ended = workflow.Now(ctx).UTC()
	if fin.Sandbox.ID != "" {
		leaveOrRemove(ctx, in, &fin)
	}
	fin.Finished = workflow.Now(ctx).UTC()
	// A cancelled drill leaves a report too.
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()

	var out drills.Outcome
	if err := workflow.ExecuteActivity(longRunning(dctx, in.Queue, 10*time.Minute, 5), activities.FinishDrillName, fin).Get(dctx, &out); err != nil {
		return out, err
	}

	return out, ctx.Err()
}

// leaveOrRemove removes the sandbox, or leaves it: for good when that was asked
// for, for a while when there is something in it to look at.
func leaveOrRemove(ctx workflow.Context, in RunDrillIn, fin *activities.FinishIn) {
	var until time.Time
	if !in.Keep {
		until = fin.Ended.Add(in.KeepFailed)
	}

	if (in.Keep || in.KeepFailed > 0 && worthALook(*fin)) && ctx.Err() == nil {
		// A sandbox that is not on record as kept is removed when this
		// workflow ends.
		if err := keepSandbox(ctx, fin.Sandbox, until, 5); err == nil && ctx.Err() == nil {
			fin.Keep, fin.KeptUntil = in.Keep, until
			return
		}
	}

	if left := closeSandbox(ctx, fin.Sandbox); left != "" {
		fin.LeftOver = append(fin.LeftOver, left)
	} else {
		fin.RemovedAt = workflow.Now(ctx).UTC()
	}
}

// worthALook reports whether a step or a check failed in the sandbox, or a check
// that was asked for could not run. After a missed objective alone there is
// nothing to see there.
func worthALook(fin activities.FinishIn) bool {
	steps := append([]plan.StepOut{fin.Cross}, fin.Steps...)
	for _, s := range steps {
		c := s.Tally()
		if s.Error != "" || c.Failed > 0 || !fin.Drill.Checks.Quick && c.Skipped > 0 {
			return true
		}
	}

	return false
}

// drillSteps does the work; what went wrong is recorded in fin.
func drillSteps(ctx workflow.Context, in RunDrillIn, fin *activities.FinishIn) {
	skip := func(why string, ids ...string) {
		for _, id := range ids {
			fin.NotRun = append(fin.NotRun, plan.NotRun{StepID: id, Why: why})
		}
	}
	// No cut from after the order to recover is a candidate: loss is measured
	// up to that order.
	now := fin.Started
	if !in.Ordered.IsZero() && in.Ordered.Before(now) {
		now = in.Ordered
	}
	var picked activities.PickOut
	err := workflow.ExecuteActivity(longRunning(ctx, in.Queue, 30*time.Minute, 3), activities.PickDrillName,
		activities.PickIn{Drill: in.Drill, Now: now, Disaster: in.Disaster}).Get(ctx, &picked)

	fin.Planned = workflow.Now(ctx).UTC()
	if err != nil {
		fin.PlanError = errorText(err)

		skip("there is no plan", "open-sandbox", activities.CrossCheckStep)

		return
	}
	fin.Carried, fin.Sample = picked.Run, picked.Sample
	all := append(stepIDs(picked.Order), activities.CrossCheckStep)
	box, err := openSandbox(ctx, in.Drill.Vault, sandboxes(in.Sandboxes, in.Queue), "drill-"+in.Drill.Name+"-"+fin.Started.Format("20060102T150405"), "drill "+in.Drill.Name)

	fin.Opened = workflow.Now(ctx).UTC()
	if err != nil {
		fin.OpenError = errorText(err)

		skip("there is no sandbox", all...)

		return
	}
	fin.Sandbox = box

	gate, err := checkSpace(ctx, picked.Order, box)
	if err != nil {
		fin.OpenError = errorText(err)

		skip("the free space is not known", all...)

		return
	}

	fin.Prechecks = append(fin.Prechecks, gate)
	if !gate.Passed {
		skip("the plan does not fit into the sandbox", all...)
		return
	}
	picked.Order.Window = in.Window

	run, err := runPlan(ctx, RestoreIn{Run: picked.Run, Order: picked.Order, Queue: in.Queue, Quick: in.Drill.Checks.Quick,
		Assertions: assertions(in.Drill, picked.Order)}, box)
	if err != nil {
		fin.Errors = append(fin.Errors, errorText(err))

		skip("the plan has no order", all...)

		return
	}

	fin.Steps, fin.NotRun = run.done, run.notRun
	switch {
	case ctx.Err() != nil:
		skip("it was cancelled", activities.CrossCheckStep)
	case !run.restored(picked.Order):
		skip("not every shard was restored", activities.CrossCheckStep)
	default:
		fin.Cross = crossCheck(ctx, in, picked.Run, box)
	}
}

// restored reports whether every restore of the plan came to its end.
func (r planRun) restored(order plan.Outline) bool {
	ok := map[string]bool{}
	for _, s := range r.done {
		ok[s.StepID] = s.Error == ""
	}

	for _, s := range order.Steps {
		if s.Op == plan.OpRestore && !ok[s.ID] {
			return false
		}
	}

	return true
}

// crossCheck compares the restored stores with each other. A check that failed
// on one store alone is no reason to leave it out.
func crossCheck(ctx workflow.Context, in RunDrillIn, run plan.Carried, box activities.SandboxRef) plan.StepOut {
	started := workflow.Now(ctx).UTC()

	var out plan.StepOut
	if err := workflow.ExecuteActivity(longRunning(ctx, box.Queue, 6*time.Hour, 2), activities.CrossCheckName,
		activities.CrossIn{Drill: in.Drill, Run: run, Sandbox: box}).Get(ctx, &out); err != nil {
		return plan.StepOut{StepID: activities.CrossCheckStep, Started: started, Finished: workflow.Now(ctx).UTC(), Error: errorText(err)}
	}

	return out.Brief()
}

func stepIDs(p plan.Outline) []string {
	var ids []string
	for _, s := range p.Steps {
		ids = append(ids, s.ID)
	}

	return ids
}

// assertions are those of the plan's targets and shards.
func assertions(d drills.Definition, p plan.Outline) map[string][]targets.Assertion {
	out := map[string][]targets.Assertion{}
	for _, s := range p.Steps {
		out[s.Shard.Target] = d.Checks.Assertions[s.Shard.Target]
		if own := d.Checks.Assertions[s.Shard.String()]; len(own) > 0 {
			out[s.Shard.String()] = own
		}
	}

	return out
}
