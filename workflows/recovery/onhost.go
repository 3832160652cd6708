package recovery

import (
	"encoding/json"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities/onhost"
	"drctl/workflows/unserved"
)

// takeWithin is how long the worker of a host has to take what it is asked.
const takeWithin = 10 * time.Second

// OnHost has the worker of a host do one call. Whoever asks repeats it.
func OnHost(ctx workflow.Context, a onhost.Ask) (json.RawMessage, error) {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: a.Queue, StartToCloseTimeout: a.Limit, ScheduleToStartTimeout: min(a.Limit, takeWithin),
		HeartbeatTimeout: 20 * time.Second, WaitForCancellation: true, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})

	var out json.RawMessage
	err := workflow.ExecuteActivity(ctx, onhost.ActivityName, a).Get(ctx, &out)

	return out, unserved.Said(err, a.Region, a.Queue)
}
