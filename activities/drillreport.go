package activities

import (
	"context"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/drills"
	"drctl/drills/debrief"
	"drctl/internal/engine"
	"drctl/restore/plan"
)

// storeAttempts is how often storing a report is tried before the files on the
// worker's host have to do: a drill whose vaults are gone leaves a report too.
const storeAttempts = 3

// FinishDrill writes the record of a drill, whatever came of it, to this
// worker's state directory and to every vault that can be reached. A repeat
// finds the record that the first call stored.
func (a *Activities) FinishDrill(ctx context.Context, in FinishIn) (drills.Outcome, error) {
	info := activity.GetInfo(ctx)

	runs, err := engine.ActivityRuns(ctx, activity.GetClient(ctx), info.WorkflowExecution.ID, info.WorkflowExecution.RunID)
	if err != nil && info.Attempt < storeAttempts {
		return drills.Outcome{}, engine.EncodeError(err)
	}

	if err := a.complete(ctx, &in, runs, int(info.Attempt)); err != nil {
		return drills.Outcome{}, engine.EncodeError(err)
	}

	out, err := a.finishDrill(ctx, in, int(info.Attempt), whoRan(runs))
	if out.Problem == "" || len(out.Record) > maxRecord {
		out.Record = nil // the vaults have it, or the file alone
	}

	return out, engine.EncodeError(err)
}

// maxRecord is how long a record may be, in bytes, that crosses the engine: far
// below the engine's limit of 2 MiB.
const maxRecord = 256 << 10

// complete adds what did not cross the engine: the plan, and what each step
// found. What cannot be read in the end is an error of the drill, which so has
// not passed.
func (a *Activities) complete(ctx context.Context, in *FinishIn, runs []engine.ActivityRun, attempt int) error {
	if !in.Carried.IsZero() {
		run, err := a.run(ctx, in.Carried)
		if err != nil && attempt < storeAttempts {
			return err
		}

		if err != nil {
			run = plan.Run{ID: in.Carried.Ref.ID, Hash: in.Carried.Ref.SHA256}
			in.Errors = append(in.Errors, "the plan could not be read again: "+err.Error())
		}
		in.Plan = run
	}

	missing := Detail(in.Steps, runs)
	if in.Cross.StepID != "" {
		cross := []plan.StepOut{in.Cross}
		missing = append(missing, Detail(cross, runs)...)
		in.Cross = cross[0]
	}

	if len(missing) > 0 {
		in.Errors = append(in.Errors, "the engine's history lacks what was found by "+strings.Join(missing, ", "))
	}

	return nil
}

// Detail gives steps back what did not cross the engine with them, from the
// history of the run that did them, and returns those of which there is none.
func Detail(steps []plan.StepOut, runs []engine.ActivityRun) (missing []string) {
	full := map[string]plan.StepOut{}
	for _, r := range runs {
		var out plan.StepOut
		switch r.Name {
		case RestoreShardName, VerifyShardName, CrossCheckName:
			if r.Result(&out) == nil {
				full[out.StepID] = out
			}
		}
	}

	for i, s := range steps {
		f, ok := full[s.StepID]
		switch {
		case s.Error != "": // it has no result
		case ok:
			steps[i] = s.Detailed(f)
		default:
			missing = append(missing, s.StepID)
		}
	}

	return missing
}

func (a *Activities) finishDrill(ctx context.Context, in FinishIn, attempt int, ran map[string]debrief.Ran) (drills.Outcome, error) {
	stop := beatEvery(ctx, 2*time.Second, func() engine.Beat { return engine.Beat{Phase: "report"} })
	defer stop()

	w := debrief.Writer{Platform: a.Platform, StateDir: a.StateDir, Version: a.Version, Commit: a.Commit, Log: a.Log}

	return w.Finish(ctx, in, ran, attempt < storeAttempts)
}

// whoRan maps a drill's steps to the activities that did them.
func whoRan(runs []engine.ActivityRun) map[string]debrief.Ran {
	out := map[string]debrief.Ran{}
	for _, r := range runs {
		ran := debrief.Ran{Worker: r.Worker, Attempts: r.Attempts}
		switch r.Name {
		case PickDrillName:
			out[debrief.PlanStep] = ran
		case OpenSandboxName:
			out[debrief.OpenSandboxStep] = ran
		case CrossCheckName:
			out[CrossCheckStep] = ran
		case CloseSandboxName:
			out[debrief.RemoveSandboxStep] = ran
		case RestoreShardName, VerifyShardName:
			var in StepIn
			if r.Input(&in) == nil {
				out[in.StepID] = ran
			}
		}
	}

	return out
}
