package unserved_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/workflows/unserved"
)

// failing runs a workflow whose activity ends with an error, as a workflow sees it.
func failing(t *testing.T, with error) error {
	t.Helper()

	e := (&testsuite.WorkflowTestSuite{}).NewTestWorkflowEnvironment()
	e.RegisterActivityWithOptions(func(context.Context) error { return with }, activity.RegisterOptions{Name: "RestoreShard"})

	var got error

	e.ExecuteWorkflow(func(ctx workflow.Context) error {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: time.Minute, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
		got = unserved.Said(workflow.ExecuteActivity(ctx, "RestoreShard").Get(ctx, nil), "west", "drctl.shop.west@pg0")

		return nil
	})

	if !e.IsWorkflowCompleted() || e.GetWorkflowError() != nil {
		t.Fatal(e.GetWorkflowError())
	}

	return engine.DecodeError(got)
}

func TestNobodyTookIt(t *testing.T) {
	t.Parallel()

	err := failing(t, temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil))
	if !fail.Is(err, fail.Unavailable) {
		t.Errorf("%v", err)
	}

	for _, w := range []string{"RestoreShard", "host pg0", "drctl.shop.west@pg0", "drctl worker --region west --host pg0"} {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("it does not say %q: %v", w, err)
		}
	}

	// What ended otherwise is as it was.
	for _, other := range []error{temporal.NewTimeoutError(enums.TIMEOUT_TYPE_START_TO_CLOSE, nil), engine.EncodeError(fail.New(fail.Corrupt, "restore", "orders/0", "", errors.New("a chunk is damaged")))} {
		if err := failing(t, other); err == nil || strings.Contains(err.Error(), "pg0") {
			t.Errorf("%v", err)
		}
	}

	if err := failing(t, nil); err != nil {
		t.Error(err)
	}
}

func TestRegionOfAQueue(t *testing.T) {
	t.Parallel()

	queues := map[string]string{"east": "drctl.shop.east", "west": "drctl.shop.west"}
	for queue, want := range map[string]string{"drctl.shop.east": "east", "drctl.shop.west@pg0": "west", "drctl.shop.west/sandbox": "west", "drctl.shop.west@pg0/archive": "west", "elsewhere": ""} {
		if got := unserved.RegionOf(queues, queue); got != want {
			t.Errorf("%s is of %q, want %q", queue, got, want)
		}
	}
}
