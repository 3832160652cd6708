package workflows_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/workflows"
)

func archiveIn() workflows.ArchiveIn {
	return workflows.ArchiveIn{Shard: activities.GroupShard{Shard: id("orders/0"), Queue: queueOf("east")}}
}

func TestArchiveContinuesAsNew(t *testing.T) {
	w := newWorld()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())
	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || again.WorkflowType.Name != workflows.ArchiveName {
		t.Fatalf("%v", err)
	}
	if w.count("FollowShard orders/0") != 100 {
		t.Fatalf("%d rounds", len(w.calls))
	}
}

func TestArchiveSurvivesErrorsThatNoRetryMends(t *testing.T) {
	w := newWorld()
	n := 0
	w.hook = func(context.Context, string) error {
		if n++; n <= 3 {
			return fail.New(fail.Denied, "follow", "orders/0@east", "", errors.New("password authentication failed"))
		}
		return nil
	}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())
	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) {
		t.Fatalf("it gave up: %v", err)
	}
	if n != 100 {
		t.Fatalf("%d calls: it does not go on after the error", n)
	}
	// It waits, so that a wrong password does not lock an account.
	if d := e.Now().Sub(t0); d < 90*time.Second {
		t.Fatalf("three failures took %v", d)
	}
}

func TestArchiveRetriesWhatARetryMends(t *testing.T) {
	w := newWorld()
	n := 0
	w.hook = func(context.Context, string) error {
		if n++; n%2 == 1 {
			return fail.New(fail.Unavailable, "follow", "orders/0", "", errors.New("connection refused"))
		}
		return nil
	}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())
	var again *workflow.ContinueAsNewError
	if err := e.GetWorkflowError(); !errors.As(err, &again) || n != 200 {
		t.Fatalf("%v after %d calls", err, n)
	}
}

func TestArchiveCancelled(t *testing.T) {
	// While it follows, and while it waits after an error.
	w := newWorld()
	e := env(t, w)
	w.cancelAt(e, 3)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())
	wantCanceled(t, e.GetWorkflowError())
	if len(w.calls) != 3 {
		t.Fatalf("%d calls", len(w.calls))
	}
	w = newWorld()
	w.fail["FollowShard"] = broken("orders/0")
	e = env(t, w)
	e.RegisterDelayedCallback(e.CancelWorkflow, 10*time.Second)
	e.ExecuteWorkflow(workflows.Archive, archiveIn())
	wantCanceled(t, e.GetWorkflowError())
	if len(w.calls) != 1 {
		t.Fatalf("%d calls", len(w.calls))
	}
}
