package engine

import (
	"context"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/converter"

	"drctl/internal/fail"
	"drctl/internal/retry"
)

const (
	// endWithin is how long a cancelled workflow may take to end, orphanWithin
	// how long one may whose task queue nobody serves.
	endWithin    = 30 * time.Second
	orphanWithin = 5 * time.Second
	// pollerAge is how old the last sign of a living worker can be: it asks for
	// work at least once a minute.
	pollerAge = 75 * time.Second
)

// Input decodes the argument that the newest run of a workflow was started with.
func Input(ctx context.Context, c client.Client, id string, out any) error {
	const op = "engine: read input"

	it := c.GetWorkflowHistory(ctx, id, "", false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	if !it.HasNext() {
		return fail.Newf(fail.NotFound, op, id, "there is no history")
	}

	first, err := it.Next()
	if err != nil {
		return fail.New(serviceCode(err), op, id, "", err)
	}

	in := first.GetWorkflowExecutionStartedEventAttributes().GetInput()
	if err := converter.GetDefaultDataConverter().FromPayloads(in, out); err != nil {
		return fail.New(fail.Corrupt, op, id, "", err)
	}

	return nil
}

// End cancels a running workflow and waits for its end. One that does not end
// in time is terminated: within 5 s when no worker serves its task queue, for
// then nothing can end it, else within 30 s. One that has ended is no error.
func End(ctx context.Context, c client.Client, id, why string) error {
	const op = "engine: end"
	if err := c.CancelWorkflow(ctx, id, ""); err != nil {
		if serviceCode(err) == fail.NotFound {
			return nil
		}

		return fail.New(serviceCode(err), op, id, "", err)
	}

	began, tries := time.Now(), retry.Policy{First: 50 * time.Millisecond, Max: time.Second}.Start()
	for {
		d, err := c.DescribeWorkflowExecution(ctx, id, "")
		if err != nil {
			return fail.New(serviceCode(err), op, id, "", err)
		}

		info := d.GetWorkflowExecutionInfo()
		if info.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING {
			return nil
		}

		took := time.Since(began)
		if took > endWithin || took > orphanWithin && !HasWorker(ctx, c, info.GetTaskQueue()) {
			err := c.TerminateWorkflow(ctx, id, info.GetExecution().GetRunId(), why)
			if err != nil && serviceCode(err) != fail.NotFound {
				return fail.New(serviceCode(err), op, id, "", err)
			}

			return nil
		}

		if err := tries.Wait(ctx); err != nil {
			return err
		}
	}
}

// HasWorker asks whether a queue has a worker. When that cannot be found out, it
// says yes.
func HasWorker(ctx context.Context, c client.Client, queue string) bool {
	polled, err := Polled(ctx, c, queue, enums.TASK_QUEUE_TYPE_WORKFLOW)
	return err != nil || Served(polled)
}
