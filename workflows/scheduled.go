package workflows

import (
	"cmp"
	"encoding/json"
	"errors"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/drills"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/targets"
)

// ScheduledIn names the workflow that a schedule wants.
type ScheduledIn struct {
	ID       string          `json:"id"`
	Workflow string          `json:"workflow"`
	Queue    string          `json:"queue"`
	Input    json.RawMessage `json:"input"`
	// Wait is how long to wait for the id while something else has it; 0 skips
	// this time.
	Wait time.Duration `json:"wait_ns,omitempty"`
	// Limit is how long the workflow may run before the engine ends it; 0
	// sets none. Without it a workflow whose queue nobody serves would hold
	// its id for ever.
	Limit time.Duration `json:"limit_ns,omitempty"`
}

// How often a busy id is tried again: soon at first, never more than some
// hundred times in a day of waiting.
const (
	firstTry = 5 * time.Second
	lastTry  = 5 * time.Minute
)

// Scheduled runs a workflow under its fixed id for a schedule. The engine appends
// the time to the id of what a schedule starts. Only a child can carry the fixed
// id, which excludes a run that somebody started by hand.
//
// Nobody waits for the outcome. So what a person would be told with it (a shard
// without a base, a finding, a failed drill) fails the run.
func Scheduled(ctx workflow.Context, in ScheduledIn) error {
	cctx := workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: in.ID, TaskQueue: in.Queue, WaitForCancellation: true, WorkflowRunTimeout: in.Limit,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		Priority:              temporal.Priority{PriorityKey: 5}, // behind what people wait for
	})

	end := workflow.Now(ctx).Add(in.Wait)
	for pause := firstTry; ; pause = min(2*pause, lastTry) {
		out := outcomeOf(in.Workflow)
		err := workflow.ExecuteChildWorkflow(cctx, in.Workflow, in.Input).Get(ctx, out)

		var running *temporal.ChildWorkflowExecutionAlreadyStartedError
		switch {
		case err == nil:
			if out == nil {
				return nil
			}

			code, what := out.wrong()
			if len(what) == 0 {
				return nil
			}

			return engine.EncodeError(fail.Newf(code, "scheduled: "+in.Workflow, in.ID, "%s", strings.Join(what, "; ")))
		case !errors.As(err, &running):
			return err
		case in.Wait <= 0:
			workflow.GetLogger(ctx).Info("skipped: it is running already", "subject", in.ID)
			return nil
		case !workflow.Now(ctx).Before(end):
			return engine.EncodeError(fail.Newf(fail.Conflict, "scheduled: "+in.Workflow, in.ID, "something else has run under this id for %s", in.Wait))
		}

		if err := workflow.Sleep(ctx, min(pause, end.Sub(workflow.Now(ctx)))); err != nil {
			return err
		}
	}
}

// outcome is what a workflow hands back, in which something may be wrong that
// its error does not say.
type outcome interface {
	wrong() (code fail.Code, what []string)
}

func outcomeOf(name string) outcome {
	switch name {
	case TakeBackupName:
		return &BackupOut{}
	case CheckName:
		return &checked{}
	case RunDrillName, GameDayName:
		return &drilled{}
	}

	return nil // its error says everything
}

func (b *BackupOut) wrong() (code fail.Code, what []string) {
	note := func(shard targets.ShardID, err, behind string) {
		if why := cmp.Or(err, behind); why != "" {
			code, what = fail.Unavailable, append(what, shard.String()+": "+why)
		}
	}
	for _, x := range b.Bases {
		note(x.Shard, x.Error, x.Behind)
	}

	for _, x := range b.Objects {
		note(x.Shard, x.Error, x.Behind)
	}

	if b.CutsError != "" {
		code, what = fail.Unavailable, append(what, "cuts: "+b.CutsError)
	}

	return code, what
}

type checked []activities.CheckOut

func (cs *checked) wrong() (code fail.Code, what []string) {
	for _, c := range *cs {
		if c.Failed > 0 {
			code, what = fail.Unverified, append(what, c.String())
		}
	}

	return code, what
}

type drilled drills.Outcome

func (d *drilled) wrong() (fail.Code, []string) {
	if d.Passed {
		return "", nil
	}

	return fail.Unverified, []string{"it failed; see: drctl drill show " + d.ID}
}
