package recovery_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/activities/onhost"
	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/targets"
	"drctl/workflows/recovery"
)

// far is a worker of the region west, which asks, and one of the host pg0 in the east.
type far struct {
	*testing.T
	c     client.Client
	heard chan onhost.Ask
	gone  chan struct{} // a call that was given up has ended on the host
}

func newFar(t *testing.T) *far {
	t.Helper()

	f := &far{T: t, c: enginetest.Client(t, enginetest.Start(t, enginetest.Options(t))), heard: make(chan onhost.Ask, 10), gone: make(chan struct{})}

	west := f.worker("west")
	west.RegisterWorkflowWithOptions(recovery.OnHost, workflow.RegisterOptions{Name: onhost.WorkflowName})
	west.RegisterWorkflowWithOptions(func(ctx workflow.Context, a onhost.Ask) (out json.RawMessage, err error) {
		ctx = workflow.WithActivityOptions(ctx, workflow.ActivityOptions{StartToCloseTimeout: limit, RetryPolicy: &temporal.RetryPolicy{MaximumAttempts: 1}})
		return out, workflow.ExecuteActivity(ctx, "Asks", a).Get(ctx, &out)
	}, workflow.RegisterOptions{Name: "Asks"})
	west.RegisterActivityWithOptions(func(ctx context.Context, a onhost.Ask) (json.RawMessage, error) {
		ctx, stop := context.WithTimeout(ctx, a.Limit)
		defer stop()

		out, err := onhost.Engine{}.Ask(ctx, a)

		return out, engine.EncodeError(err)
	}, activity.RegisterOptions{Name: "Asks"})

	host := f.worker("east@pg0")
	host.RegisterActivityWithOptions(f.hand, activity.RegisterOptions{Name: onhost.ActivityName})

	for _, w := range []worker.Worker{west, host} {
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}

		t.Cleanup(w.Stop)
	}

	return f
}

func (f *far) worker(queue string) worker.Worker {
	return worker.New(f.c, queue, worker.Options{MaxHeartbeatThrottleInterval: 20 * time.Millisecond, DefaultHeartbeatThrottleInterval: 20 * time.Millisecond})
}

// hand does what it is asked on the host: a stop never ends by itself.
func (f *far) hand(ctx context.Context, a onhost.Ask) (json.RawMessage, error) {
	f.heard <- a

	switch a.Do {
	case onhost.Stop:
		for ctx.Err() == nil {
			activity.RecordHeartbeat(ctx)
			time.Sleep(20 * time.Millisecond)
		}

		close(f.gone)

		return nil, ctx.Err()
	case onhost.Undo:
		return nil, engine.EncodeError(fail.New(fail.Conflict, "switch: undo", "orders/0", "go on", nil))
	}

	return json.RawMessage(`{"lag_bytes":7}`), nil
}

func (f *far) ask(host string, do onhost.Method, within time.Duration) (out json.RawMessage, err error) {
	a := onhost.Ask{Place: platform.Place{Region: "east", Host: host}, Queue: platform.Queue("east", host, platform.Base), Shard: targets.ShardID{Target: "orders", Shard: "0"}, Do: do, Limit: within, Call: json.RawMessage(`{}`)}

	run, err := f.c.ExecuteWorkflow(f.Context(), client.StartWorkflowOptions{TaskQueue: "west"}, "Asks", a)
	if err != nil {
		f.Fatal(err)
	}

	return out, engine.DecodeError(run.Get(f.Context(), &out))
}

func TestAnotherHostIsAsked(t *testing.T) {
	f := newFar(t)

	out, err := f.ask("pg0", onhost.Prepare, limit)
	if err != nil || !strings.Contains(string(out), "7") {
		t.Errorf("%s, %v", out, err)
	}

	if a := <-f.heard; a.Do != onhost.Prepare || a.Host != "pg0" || a.Shard.String() != "orders/0" {
		t.Errorf("%+v", a)
	}

	// What the host says no to keeps its kind and its way out.
	if _, err := f.ask("pg0", onhost.Undo, limit); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "go on") {
		t.Errorf("%v", err)
	}

	<-f.heard

	// Nobody is there.
	if _, err := f.ask("pg9", onhost.Prepare, limit); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "drctl worker --region east --host pg9") {
		t.Errorf("%v", err)
	}

	// One whose time is over ends on its host, too.
	if _, err := f.ask("pg0", onhost.Stop, 3*time.Second); err == nil {
		t.Error("a stop that does not end has succeeded")
	}

	select {
	case <-f.gone:
	case <-time.After(limit):
		t.Error("it goes on on its host")
	}
}
