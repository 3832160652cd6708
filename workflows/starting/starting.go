package starting

import (
	"context"
	"errors"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/serviceerror"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"drctl/internal/fail"
)

// Run starts a workflow, which ends after the limit. One that runs already under this id is joined when the caller
// may, else it is a conflict.
func Run(ctx context.Context, c client.Client, id, name, queue string, limit time.Duration, join bool, arg any) (client.WorkflowRun, error) {
	opt := client.StartWorkflowOptions{ID: id, TaskQueue: queue,
		WorkflowIDConflictPolicy: enums.WORKFLOW_ID_CONFLICT_POLICY_FAIL,
		WorkflowIDReusePolicy:    enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		// A person waits: before scheduled work.
		Priority:                                 temporal.Priority{PriorityKey: 1},
		WorkflowExecutionErrorWhenAlreadyStarted: true,
		WorkflowExecutionTimeout:                 limit,
	}
	run, err := c.ExecuteWorkflow(ctx, opt, name, arg)

	var running *serviceerror.WorkflowExecutionAlreadyStarted
	if errors.As(err, &running) {
		if join {
			return c.GetWorkflow(ctx, id, running.RunId), nil
		}

		return nil, fail.New(fail.Conflict, "start", id, "wait for it to end, then repeat", errors.New("it is running already"))
	}

	if err != nil {
		// An interruption is no error of the engine, whatever its client calls it.
		return nil, fail.New(fail.Unavailable, "engine: start", id, "", errors.Join(ctx.Err(), err))
	}

	return run, nil
}
