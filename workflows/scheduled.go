package workflows

import (
	"encoding/json"
	"errors"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"
)

// ScheduledIn names the workflow that a schedule wants.
type ScheduledIn struct {
	ID       string          `json:"id"`
	Workflow string          `json:"workflow"`
	Queue    string          `json:"queue"`
	Input    json.RawMessage `json:"input"`
}

// Scheduled runs a workflow under its fixed id for a schedule: the engine
// appends the time to the id of what a schedule starts, so only a child can
// carry the id that excludes a run which somebody started by hand. When one
// runs already, this time is skipped.
func Scheduled(ctx workflow.Context, in ScheduledIn) error {
	ctx = workflow.WithChildOptions(ctx, workflow.ChildWorkflowOptions{
		WorkflowID: in.ID, TaskQueue: in.Queue, WaitForCancellation: true,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_REQUEST_CANCEL,
		Priority:              temporal.Priority{PriorityKey: 5}, // behind what people wait for
	})
	err := workflow.ExecuteChildWorkflow(ctx, in.Workflow, in.Input).Get(ctx, nil)
	var running *temporal.ChildWorkflowExecutionAlreadyStartedError
	if errors.As(err, &running) {
		workflow.GetLogger(ctx).Info("skipped: it is running already", "workflow", in.ID)
		return nil
	}
	return err
}
