package looked_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/engine/looked"
	"drctl/internal/fail"
)

// one asks for one activity, which a worker of another queue has.
func one(ctx workflow.Context, queue string) error {
	ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{TaskQueue: queue, StartToCloseTimeout: time.Hour, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
	return workflow.ExecuteActivity(ctx, "step").Get(ctx, nil)
}

func TestARunIsLookedAtWhileItRunsAndWhenItHasEnded(t *testing.T) {
	t.Parallel()

	e := enginetest.Start(t, enginetest.Options(t))

	c, err := engine.Dial(t.Context(), e.Options())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	w := engine.NewWorker(c, "here", engine.WorkerOptions{})
	w.RegisterWorkflowWithOptions(one, workflow.RegisterOptions{Name: "one"})

	if err := w.Start(); err != nil {
		t.Fatal(err)
	}
	defer w.Stop()

	if _, err := looked.At(t.Context(), c, "shop/none"); !fail.Is(err, fail.NotFound) {
		t.Fatalf("a run that was never there: %v", err)
	}

	began := time.Now().Add(-time.Second)

	run, err := c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "shop/one", TaskQueue: "here", WorkflowRunTimeout: time.Hour}, "one", "there")
	if err != nil {
		t.Fatal(err)
	}

	var seen looked.Run
	for len(seen.Pending) == 0 {
		if seen, err = looked.At(t.Context(), c, "shop/one"); err != nil {
			t.Fatal(err)
		}
	}

	if seen.State != "running" || seen.RunID != run.GetRunID() || seen.Workflow != "one" || seen.Started.Before(began) || !seen.Ended.IsZero() ||
		seen.Limit.Sub(seen.Started).Round(time.Minute) != time.Hour || seen.Events == 0 || seen.Pending[0].State != "scheduled" || seen.Pending[0].Queue != "there" {
		t.Errorf("while nobody has its activity: %+v", seen)
	}

	other := engine.NewWorker(c, "there", engine.WorkerOptions{})
	other.RegisterActivityWithOptions(func(context.Context) error {
		return engine.EncodeError(fail.New(fail.Corrupt, "step", "orders/0", "", errors.New("a byte is wrong")))
	}, activity.RegisterOptions{Name: "step"})

	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	defer other.Stop()

	_ = run.Get(t.Context(), nil)

	if seen, err = looked.At(t.Context(), c, "shop/one"); err != nil || seen.State != "failed" || seen.Code != fail.Corrupt || seen.Error == "" || seen.Ended.IsZero() || len(seen.Pending) != 0 {
		t.Errorf("failed: %+v, %v", seen, err)
	}
}
