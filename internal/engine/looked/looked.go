package looked

import (
	"context"
	"strings"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"google.golang.org/protobuf/types/known/timestamppb"

	"drctl/internal/engine"
	"drctl/internal/fail"
)

const op = "engine: describe workflow"

// Run is a run, whether it goes on or has ended.
type Run struct {
	engine.Run
	// State is "running", "completed", "failed", "cancelled", "terminated", "timed out" or, of one that
	// goes on as another run of the same id, "continued".
	State string    `json:"state"`
	Ended time.Time `json:"ended,omitzero"`
	// Limit is when the engine ends it if it still runs. Not there: never.
	Limit time.Time `json:"limit,omitzero"`
	// Events is the length of its history.
	Events int64 `json:"events"`
	// Error is why it did not end well.
	Error string    `json:"error,omitempty"`
	Code  fail.Code `json:"code,omitempty"`
	// Pending is what runs or waits to run, of its children too, the oldest first.
	Pending []engine.Pending `json:"pending"`
}

// At looks at the newest run of a workflow id. Not-found when the engine has none, or does not keep it any more.
func At(ctx context.Context, c client.Client, id string) (out Run, err error) {
	d, err := c.DescribeWorkflowExecution(ctx, id, "")
	if err != nil {
		code := fail.Unavailable
		if engine.NotFound(err) {
			code = fail.NotFound
		}

		return out, fail.New(code, op, id, "", err)
	}
	x := d.GetWorkflowExecutionInfo()

	out.Run = engine.Run{ID: id, RunID: x.GetExecution().GetRunId(), Workflow: x.GetType().GetName(), Queue: x.GetTaskQueue(), Started: x.GetStartTime().AsTime()}
	out.State, out.Events, out.Pending = state(x.GetStatus()), x.GetHistoryLength(), []engine.Pending{}

	if t := x.GetCloseTime(); t != nil {
		out.Ended = t.AsTime()
	}

	more := d.GetWorkflowExtendedInfo()
	for _, t := range []*timestamppb.Timestamp{more.GetExecutionExpirationTime(), more.GetRunExpirationTime()} {
		if at := t.AsTime(); t != nil && at.After(out.Started) && out.Ended.IsZero() && (out.Limit.IsZero() || at.Before(out.Limit)) {
			out.Limit = at
		}
	}

	if x.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
		if x.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_COMPLETED && x.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW {
			if err := engine.DecodeError(c.GetWorkflow(ctx, id, out.RunID).Get(ctx, nil)); err != nil && ctx.Err() == nil {
				out.Error, out.Code = err.Error(), fail.CodeOf(err)
			}
		}

		return out, ctx.Err()
	}

	pending, err := engine.Progress(ctx, c, id)
	out.Pending = append(out.Pending, pending...)

	return out, err
}

func state(s enums.WorkflowExecutionStatus) string {
	switch s {
	case enums.WORKFLOW_EXECUTION_STATUS_CANCELED:
		return "cancelled"
	case enums.WORKFLOW_EXECUTION_STATUS_TIMED_OUT:
		return "timed out"
	case enums.WORKFLOW_EXECUTION_STATUS_CONTINUED_AS_NEW:
		return "continued"
	default:
		return strings.ToLower(s.String())
	}
}
