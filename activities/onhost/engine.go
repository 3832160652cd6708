package onhost

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
)

const (
	// letGo is how long a call that was given up has to end on its host.
	letGo = 3 * time.Second
	// spare is what the engine has, beyond the call's own limit, to say how it ended.
	spare = 10 * time.Second
)

// Engine asks by a workflow of the engine that runs this activity.
type Engine struct{}

// Ask implements Asker. It is to be called within an activity.
func (Engine) Ask(ctx context.Context, a Ask) (json.RawMessage, error) {
	c, info := activity.GetClient(ctx), activity.GetInfo(ctx)
	region, _, _ := platform.QueueOf(info.TaskQueue)

	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{
		ID: fmt.Sprintf("%s/%s/%s/%s-%s", info.WorkflowExecution.ID, a.Host, a.Shard, a.Do, rand.Text()[:8]),
		// Whoever asks is there to take it.
		TaskQueue: region, WorkflowExecutionTimeout: a.Limit + spare, Priority: temporal.Priority{PriorityKey: 1},
	}, WorkflowName, a)
	if err != nil {
		return nil, fail.New(fail.Unavailable, op, a.Host, "", err)
	}

	var out json.RawMessage

	err = run.Get(ctx, &out)
	if ctx.Err() != nil {
		end(ctx, c, run)
		return nil, fail.New(fail.Stalled, op, a.Host, "is a worker there? "+platform.ServeWith(a.Region, a.Host, platform.Base), ctx.Err())
	}

	return out, engine.DecodeError(err)
}

// end takes a call back that nobody waits for any more, and waits for its end for a
// while: what comes next must not find it at work.
func end(ctx context.Context, c client.Client, run client.WorkflowRun) {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), letGo)
	defer stop()

	if c.CancelWorkflow(ctx, run.GetID(), run.GetRunID()) == nil {
		_ = run.Get(ctx, nil) // however it ended
	}
}
