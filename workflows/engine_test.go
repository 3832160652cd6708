package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/workflows"
)

// beatUntil beats until its activity is cancelled.
func beatUntil(ctx context.Context) error {
	for {
		activity.RecordHeartbeat(ctx, engine.Beat{Phase: "test"})

		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// On a real engine an activity goes on after its workflow was cancelled, until
// it hears of it. A sandbox that is opened in that time must not be forgotten.
func TestCancelledWhileTheSandboxOpens(t *testing.T) {
	r := newRealEngine(t)
	for _, s := range []scenario{
		{name: "restore", workflow: workflows.RestoreName, in: restoreIn(planOf("orders/0"))},
		{name: "drill", workflow: workflows.RunDrillName, in: drillIn()},
	} {
		w := newWorld()
		w.hook = func(_ context.Context, call string) error {
			if strings.HasPrefix(call, "OpenSandbox") {
				if err := r.c.CancelWorkflow(context.Background(), "scenario/"+s.name, ""); err != nil {
					return err
				}

				time.Sleep(500 * time.Millisecond) // opens although it was cancelled
			}

			return nil
		}
		_, err := r.run(t, w, s)
		wantCanceled(t, err)

		if open := w.leftOpen(); len(open) != 0 || w.count("CloseSandbox") != 1 {
			t.Errorf("%s: %v is left over; calls %v", s.name, open, w.calls)
		}

		if s.workflow == workflows.RunDrillName {
			report(t, w)
		}
	}
}

// Every step of a restore and of a drill, cancelled on a real engine while it
// runs and beats.
func TestCancelledAtEveryStepOnARealEngine(t *testing.T) {
	r := newRealEngine(t)
	for _, s := range []scenario{
		{name: "restore-space", workflow: workflows.RestoreName, in: restoreIn(planOf("orders/0")), cancelAt: "CheckSpace"},
		{name: "restore-restore", workflow: workflows.RestoreName, in: restoreIn(planOf("orders/0")), cancelAt: "RestoreShard"},
		{name: "restore-verify", workflow: workflows.RestoreName, in: restoreIn(planOf("orders/0")), cancelAt: "VerifyShard"},
		{name: "drill-pick", workflow: workflows.RunDrillName, in: drillIn(), cancelAt: "PickDrill"},
		{name: "drill-space", workflow: workflows.RunDrillName, in: drillIn(), cancelAt: "CheckSpace"},
		{name: "drill-restore", workflow: workflows.RunDrillName, in: drillIn(), cancelAt: "RestoreShard"},
		{name: "drill-verify", workflow: workflows.RunDrillName, in: drillIn(), cancelAt: "VerifyShard"},
		{name: "drill-cross", workflow: workflows.RunDrillName, in: drillIn(), cancelAt: "CrossCheck"},
	} {
		w := newWorld()
		_, err := r.run(t, w, s)
		wantCanceled(t, err)

		if open := w.leftOpen(); len(open) != 0 {
			t.Errorf("%s: %v is left over; calls %v", s.name, open, w.calls)
		}

		if s.workflow == workflows.RunDrillName {
			if f := report(t, w); !strings.Contains(strings.Join(f.Errors, ""), "cancelled") {
				t.Errorf("%s: the report does not say that it was cancelled: %+v", s.name, f.Errors)
			}
		}
	}
}

// While one runs under the fixed id, a scheduled one that may wait runs after it.
func TestScheduledWaitsForWhatRuns(t *testing.T) {
	r := newRealEngine(t)
	w := newWorld()
	busy, second := make(chan struct{}), make(chan error, 1)

	w.hook = func(ctx context.Context, call string) error {
		if call != "CheckVault west" || w.count("CheckVault west") > 1 {
			return nil
		}
		in := workflows.ScheduledIn{ID: "scenario/held", Workflow: workflows.RetainName, Queue: queueOf("east"), Wait: time.Minute,
			Input: []byte(`{"group":{"name":"shop","policy":{"vaults":["east"]},"queues":{"east":"drctl.east"}}}`)}

		c, err := r.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "scheduled/again", TaskQueue: queueOf("east")}, workflows.ScheduledName, in)
		if err != nil {
			return err
		}

		go func() { second <- c.Get(context.Background(), nil) }()
		// It has found the id busy: its start is refused and it sleeps.
		for it := r.c.GetWorkflowHistory(ctx, c.GetID(), c.GetRunID(), true, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
			e, err := it.Next()
			if err != nil {
				return err
			}

			if e.GetEventType() == enums.EVENT_TYPE_TIMER_STARTED {
				close(busy)
				return nil
			}
		}

		return errors.New("it did not wait")
	}
	defer r.serve(t, w)()

	run, err := r.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: "scenario/held", TaskQueue: queueOf("east")}, workflows.CheckName,
		workflows.CheckAllIn{Group: group(), Regions: []string{"west"}})
	if err != nil {
		t.Fatal(err)
	}

	if err := run.Get(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	err = <-second

	select {
	case <-busy:
	default:
		t.Error("the id was never busy")
	}

	if err != nil || w.count("Retain east") != 1 {
		t.Fatalf("%v %v", err, w.calls)
	}
}

// What a schedule started on a queue that nobody serves gives its id back.
func TestScheduledEndsAtItsLimit(t *testing.T) {
	r := newRealEngine(t)

	_, err := r.run(t, newWorld(), scenario{name: "limit", workflow: workflows.ScheduledName, in: workflows.ScheduledIn{
		ID: "scenario/limited", Workflow: workflows.CheckName, Queue: "nobody", Input: []byte(`{}`), Limit: time.Second}})
	if !fail.Is(engine.DecodeError(err), fail.Stalled) {
		t.Fatalf("got %v", err)
	}
}

// While one runs under the fixed id, a scheduled one is skipped, not failed.
func TestScheduledSkipsWhatRuns(t *testing.T) {
	r := newRealEngine(t)
	outer := newWorld()
	first := make(chan error, 1)

	outer.hook = func(ctx context.Context, call string) error {
		if call != "CheckVault west" {
			return nil
		}
		// The check runs; the schedule's time comes again.
		c, err := r.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "scheduled/again", TaskQueue: queueOf("east")}, workflows.ScheduledName, workflows.ScheduledIn{
			ID: "scenario/held", Workflow: workflows.CheckName, Queue: queueOf("east"), Input: []byte(`{}`)})
		if err == nil {
			err = c.Get(ctx, nil)
		}

		first <- err

		return nil
	}
	if _, err := r.run(t, outer, scenario{name: "held", workflow: workflows.CheckName, in: workflows.CheckAllIn{Group: group(), Regions: []string{"west"}}}); err != nil {
		t.Fatal(engine.DecodeError(err))
	}

	if err := <-first; err != nil {
		t.Fatalf("the second run was not skipped: %v", err)
	}

	if n := outer.count("CheckVault"); n != 1 {
		t.Fatalf("%d checks ran", n)
	}
}
