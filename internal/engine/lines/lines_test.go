package lines

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"go.temporal.io/sdk/interceptor"

	"drctl/internal/fail"
	"drctl/internal/logs"
)

var errOurs = errors.New("ours")

func coded(err error) (Cause, bool) {
	var fe *fail.Error
	switch {
	case errors.As(err, &fe):
		return Cause{Err: fe, Canceled: errors.Is(err, context.Canceled)}, true
	case errors.Is(err, errOurs):
		return Cause{Err: err}, true
	}

	return Cause{}, false
}

func newLog(t *testing.T) (*slog.Logger, *bytes.Buffer) {
	t.Helper()

	var b bytes.Buffer

	log, err := logs.New(&b, logs.Text, "debug")
	if err != nil {
		t.Fatal(err)
	}

	return log, &b
}

// Only the exact lines of an ordinary start and stop lose their level.
func TestWhatIsOrdinary(t *testing.T) {
	const poll = "Unable to call matching.PollWorkflowTaskQueue."
	canceled := errors.New("context canceled")

	for _, c := range []struct {
		level    slog.Level
		msg      string
		err      any
		ordinary bool
	}{
		{slog.LevelError, poll, canceled, true},
		{slog.LevelError, poll, "context canceled", true},
		{slog.LevelWarn, "Failed to poll for task.", canceled, true},
		{slog.LevelError, "Unable to call matching.PollActivityTaskQueue.", context.Canceled, true},
		{slog.LevelWarn, noNexus + " To enable Nexus, follow these instructions: x", nil, true},
		{slog.LevelInfo, "Started Worker", nil, true},
		{slog.LevelError, "Activity error.", errOurs, true},

		{slog.LevelError, poll, errors.New("the database is locked"), false},
		{slog.LevelError, poll, errors.Join(errors.New("disk full"), context.Canceled), false},
		{slog.LevelError, poll, fmt.Errorf("disk full: %w", context.Canceled), false},
		{slog.LevelError, poll, nil, false},
		{slog.LevelError, "Operation failed with internal error.", canceled, false},
		{slog.LevelError, poll + " Again", canceled, false},
		{slog.LevelWarn, "Failed to poll for task.", errors.New("unavailable"), false},
		{slog.LevelError, "Started Worker", nil, false},
		{slog.LevelError, "Activity error.", errors.New("theirs"), false},
		{slog.LevelError, "Activity error.", nil, false},
		{slog.LevelError, "Activity panic.", errOurs, false},
	} {
		log, b := newLog(t)
		l := Logger(log, coded).(sdkLog)

		keyvals := []any{"WorkflowID", "w", "RunID", "r"}
		if c.err != nil {
			keyvals = append(keyvals, "Error", c.err)
		}

		l.put(c.level, c.msg, keyvals)

		want := "level=" + c.level.String()
		if c.ordinary {
			want = "level=DEBUG"
		}

		if got := b.String(); !strings.Contains(got, want) || !strings.Contains(got, "workflow=w run=r") || strings.Contains(got, "Error=") {
			t.Errorf("%s, %v: %s, want %s", c.msg, c.err, got, want)
		}

		if c.msg == "Activity error." {
			continue
		}

		r := slog.NewRecord(slog.Record{}.Time, c.level, c.msg, 0)
		if c.err != nil {
			r.AddAttrs(slog.Any("error", c.err))
		}

		if got := Record(r).Level; (got == slog.LevelDebug) != c.ordinary {
			t.Errorf("of the engine: %s, %v: %s", c.msg, c.err, got)
		}
	}

	log, b := newLog(t)
	Logger(log, coded).Error(poll, "Error", canceled, "error", errors.New("disk full"))

	if !strings.Contains(b.String(), "level=ERROR") {
		t.Errorf("two errors: %s", b)
	}
}

type input struct{ Shard string }

func labelled(in any) []slog.Attr {
	if i, ok := in.(input); ok {
		return []slog.Attr{slog.String(logs.Shard, i.Shard)}
	}

	return nil
}

// Every line of an activity and of a workflow has run and shard, and a failed
// attempt is told with the level that it deserves.
func TestRunAndShardAreOnEveryLine(t *testing.T) {
	log, b := newLog(t)

	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(Logger(log, coded))
	env := suite.NewTestWorkflowEnvironment()
	env.SetWorkerOptions(worker.Options{Interceptors: []interceptor.WorkerInterceptor{&Interceptor{Log: log, Labels: labelled, Coded: coded}}})

	step := func(ctx context.Context, _ input) error {
		log.InfoContext(ctx, "said by the activity")

		if activity.GetInfo(ctx).Attempt < 4 {
			return fmt.Errorf("try again: %w", fail.New(fail.Unavailable, "dial", "east", "wait", nil))
		}

		return nil
	}
	env.RegisterActivityWithOptions(step, activity.RegisterOptions{Name: "step"})

	flow := func(ctx workflow.Context, in input) error {
		workflow.GetLogger(ctx).Warn("said by the workflow")

		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: 1e10, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 5}})

		return workflow.ExecuteActivity(ctx, "step", in).Get(ctx, nil)
	}
	env.RegisterWorkflow(flow)
	env.ExecuteWorkflow(flow, input{"orders/0"})

	if err := env.GetWorkflowError(); err != nil {
		t.Fatal(err)
	}

	seen := map[string]int{}
	for line := range strings.Lines(b.String()) {
		for _, msg := range []string{"said by the activity", "said by the workflow", "level=WARN msg=\"an attempt failed\"", "level=DEBUG msg=\"an attempt failed\""} {
			if !strings.Contains(line, msg) {
				continue
			}

			seen[msg]++

			for _, key := range []string{" workflow=", " run=", " shard=orders/0"} {
				if msg == "said by the workflow" && key != " shard=orders/0" {
					continue // the SDK's own, which its test environment leaves out
				}

				if strings.Count(line, key) != 1 {
					t.Errorf("%s is not there once: %s", key, line)
				}
			}
		}
	}

	if seen["said by the activity"] != 4 || seen["said by the workflow"] != 1 || seen["level=WARN msg=\"an attempt failed\""] != 2 || seen["level=DEBUG msg=\"an attempt failed\""] != 1 {
		t.Errorf("%v:\n%s", seen, b)
	}
}
