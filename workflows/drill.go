package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/drills"
	"drctl/targets"
)

// RunDrillIn asks for a drill.
type RunDrillIn struct {
	Drill drills.Definition `json:"drill"`
	// Queue serves the region whose vault is read.
	Queue string `json:"queue"`
	// Disaster is the instant of a (simulated) disaster, when there was one.
	Disaster time.Time `json:"disaster,omitzero"`
	// By is who asked.
	By     string `json:"by"`
	Window int    `json:"window"`
	// Keep leaves the sandbox for inspection.
	Keep bool `json:"keep"`
}

// RunDrill restores a cut into a sandbox, checks it, measures, removes the
// sandbox and writes the report: whatever happens in between, a report says
// what did and what did not.
func RunDrill(ctx workflow.Context, in RunDrillIn) (activities.DrillOut, error) {
	fin := activities.FinishIn{Drill: in.Drill, Disaster: in.Disaster, By: in.By, Started: workflow.Now(ctx).UTC(), Keep: in.Keep,
		Run: workflow.GetInfo(ctx).WorkflowExecution.RunID}
	drillSteps(ctx, in, &fin)
	fin.Finished = workflow.Now(ctx).UTC()
	if fin.Sandbox.ID != "" && !in.Keep {
		if left := closeSandbox(ctx, fin.Sandbox); left != "" {
			fin.LeftOver = append(fin.LeftOver, left)
		} else {
			fin.RemovedAt = workflow.Now(ctx).UTC()
		}
	}
	// A cancelled drill leaves a report too.
	dctx, cancel := workflow.NewDisconnectedContext(ctx)
	defer cancel()
	var out activities.DrillOut
	if err := workflow.ExecuteActivity(long(dctx, in.Queue, 10*time.Minute, 5), activities.FinishDrillName, fin).Get(dctx, &out); err != nil {
		return out, err
	}
	return out, ctx.Err()
}

// drillSteps does the work; what went wrong is recorded in fin.
func drillSteps(ctx workflow.Context, in RunDrillIn, fin *activities.FinishIn) {
	fail := func(what string, err error) { fin.Errors = append(fin.Errors, what+": "+err.Error()) }
	var picked activities.PickOut
	err := workflow.ExecuteActivity(long(ctx, in.Queue, 30*time.Minute, 3), activities.PickDrillName,
		activities.PickIn{Drill: in.Drill, Now: fin.Started}).Get(ctx, &picked)
	if err != nil {
		fail("plan", err)
		return
	}
	fin.Plan, fin.Sample = picked.Plan, picked.Sample
	fin.Planned = workflow.Now(ctx).UTC()
	box, err := openSandbox(ctx, in.Queue, "drill-"+in.Drill.Name+"-"+fin.Started.Format("20060102T150405"), "drill "+in.Drill.Name)
	if err != nil {
		fail("sandbox", err)
		return
	}
	fin.Sandbox = box
	fin.Opened = workflow.Now(ctx).UTC()
	assertions := map[string][]targets.Assertion{}
	for _, s := range picked.Plan.Steps {
		assertions[s.Shard.Target] = in.Drill.Checks.Assertions[s.Shard.Target]
		if own := in.Drill.Checks.Assertions[s.Shard.String()]; len(own) > 0 {
			assertions[s.Shard.String()] = own
		}
	}
	run := runPlan(ctx, RestoreIn{Plan: picked.Plan, Queue: in.Queue, Window: in.Window, Quick: in.Drill.Checks.Quick, Assertions: assertions}, box)
	fin.Steps, fin.NotRun = run.done, run.notRun
	if len(run.failed) > 0 || ctx.Err() != nil {
		if ctx.Err() != nil {
			fail("drill", ctx.Err())
		}
		return
	}
	var cross activities.StepOut
	if err := workflow.ExecuteActivity(long(ctx, box.Queue, 6*time.Hour, 2), activities.CrossCheckName,
		activities.CrossIn{Drill: in.Drill, Plan: picked.Plan, Sandbox: box}).Get(ctx, &cross); err != nil {
		fail("checks across stores", err)
		cross = activities.StepOut{StepID: "cross-check", Error: err.Error(), Finished: workflow.Now(ctx).UTC()}
	}
	fin.Cross = cross
}
