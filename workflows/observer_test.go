package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/workflow"

	"drctl/activities/observing"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/workflows"
)

// observeEnv runs Observe with an activity of ours.
func observeEnv(t *testing.T, f func(ctx context.Context, in observing.In) (observing.Out, error)) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var s testsuite.WorkflowTestSuite
	s.SetLogger(engine.Logger(nil))
	e := s.NewTestWorkflowEnvironment()
	e.SetStartTime(t0)
	e.SetTestTimeout(2 * time.Minute)
	e.RegisterWorkflowWithOptions(workflows.Observe, workflow.RegisterOptions{Name: workflows.ObserveName})
	e.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: observing.Name})

	return e
}

var shopObserved = workflows.ObserveIn{Group: "shop", Queue: queueOf("east")}

// An observer goes on where it was: there is the same one.
func TestObserveStaysOnItsHost(t *testing.T) {
	var queues []string
	e := observeEnv(t, func(ctx context.Context, in observing.In) (observing.Out, error) {
		queues = append(queues, activity.GetInfo(ctx).TaskQueue)

		if in.Group != "shop" {
			t.Errorf("it observes %q", in.Group)
		}

		if len(queues) == 3 { // the host is gone: it is given back, not tried there again
			return observing.Out{}, engine.EncodeError(fail.Newf(fail.Unavailable, "worker", "", "the worker is stopping"))
		}

		return observing.Out{Queue: queueOf("east") + "@host"}, nil
	})
	e.ExecuteWorkflow(workflows.Observe, shopObserved)

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || again.WorkflowType.Name != workflows.ObserveName {
		t.Fatalf("%v", err)
	}

	home, host := queueOf("east")+"/archive", queueOf("east")+"@host"
	for i, want := range []string{home, host, host, home, host} {
		if queues[i] != want {
			t.Errorf("round %d on %s, want %s", i, queues[i], want)
		}
	}
}

// What no retry can mend is tried again slowly, for ever.
func TestObserveComesBackByItself(t *testing.T) {
	n := 0
	e := observeEnv(t, func(context.Context, observing.In) (observing.Out, error) {
		if n++; n <= 3 {
			return observing.Out{}, engine.EncodeError(fail.New(fail.NotFound, "configuration", "shop", "", errors.New("there is no group of this name")))
		}

		return observing.Out{Queue: queueOf("east")}, nil
	})
	e.ExecuteWorkflow(workflows.Observe, shopObserved)

	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || n != 100 {
		t.Fatalf("%d calls: %v", n, err)
	}

	if d := e.Now().Sub(t0); d < 3*workflows.ObserveAgain {
		t.Fatalf("three failures took %v", d)
	}
}

func TestObserveCancelled(t *testing.T) {
	var e *testsuite.TestWorkflowEnvironment
	e = observeEnv(t, func(ctx context.Context, _ observing.In) (observing.Out, error) {
		e.CancelWorkflow()
		<-ctx.Done()

		return observing.Out{}, ctx.Err()
	})
	e.ExecuteWorkflow(workflows.Observe, shopObserved)

	if err := e.GetWorkflowError(); !temporal.IsCanceledError(err) {
		t.Fatal(err)
	}
}
