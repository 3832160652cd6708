package workflows_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/converter"
	"go.temporal.io/sdk/temporal"

	"drctl/activities"
	"drctl/activities/observing"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/targets"
	"drctl/workflows"
)

func TestTakeCut(t *testing.T) {
	w := newWorld()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})

	var c targets.Cut
	if err := e.GetWorkflowResult(&c); err != nil {
		t.Fatal(err)
	}

	if p, _ := c.Point(id("media/0")); c.SealedAt.IsZero() || p.Position.Manifest != "m-0" || p.Objects != 7 || p.Bytes != 70 || len(w.abandons) > 0 {
		t.Fatalf("%+v %v", c, w.calls)
	}

	if p, _ := c.Point(id("media/0")); len(p.Warnings) != 1 {
		t.Errorf("the cut does not say what it lacks: %+v", p)
	}

	if w.index(t, "SnapshotObjects media/0") > w.index(t, "SealCut "+c.ID) {
		t.Fatalf("sealed before the objects were recorded: %v", w.calls)
	}
}

func TestTakeCutBarrierFails(t *testing.T) {
	w := newWorld()
	w.fail["FenceCut"] = fail.New(fail.Denied, "cut: barrier", "orders/1@east", "", errors.New("permission denied for function pg_create_restore_point"))
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})
	wantCode(t, e.GetWorkflowError(), fail.Denied, "orders/1@east", "pg_create_restore_point")
	// There is no cut: nothing to seal or to abandon.
	if len(w.calls) != 1 {
		t.Fatalf("%v", w.calls)
	}
}

func TestTakeCutBarrierIsTriedAgain(t *testing.T) {
	w := newWorld()
	n := 0
	w.hook = func(_ context.Context, call string) error {
		if strings.HasPrefix(call, "FenceCut") {
			if n++; n < 3 {
				return fail.New(fail.Unavailable, "cut: barrier", "orders/1", "", errors.New("connection refused"))
			}
		}

		return nil
	}
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})

	if err := e.GetWorkflowError(); err != nil || w.count("FenceCut") != 3 {
		t.Fatalf("%v %v", err, w.calls)
	}
}

// abandoned checks that the cut was recorded as abandoned, once, with a reason.
func abandoned(t *testing.T, w *world, words ...string) {
	t.Helper()

	if len(w.abandons) != 1 || w.abandons[0].Cut.ID != cut().ID {
		t.Fatalf("abandoned: %+v, calls %v", w.abandons, w.calls)
	}

	for _, x := range words {
		if !strings.Contains(w.abandons[0].Reason, x) {
			t.Fatalf("the reason %q does not say %q", w.abandons[0].Reason, x)
		}
	}
}

func TestTakeCutSnapshotFails(t *testing.T) {
	w := newWorld()
	w.fail["SnapshotObjects"] = broken("media/0")
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})
	wantCode(t, e.GetWorkflowError(), fail.Corrupt, "media/0")
	abandoned(t, w, "media/0")

	if w.count("SealCut") != 0 {
		t.Fatal("a cut without its objects was sealed")
	}
}

func TestTakeCutSealTimesOut(t *testing.T) {
	w := newWorld()
	w.fail["SealCut"] = fail.New(fail.Unavailable, "cut: seal", "orders/1", "is the shard's archiver running?", errors.New("the stream ends before the point"))
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})
	// Tried again and again until the policy's time is up.
	if n := w.count("SealCut"); n < 5 {
		t.Fatalf("%d attempts", n)
	}

	wantCode(t, e.GetWorkflowError(), fail.Unavailable, "orders/1", "the stream ends before the point")
	abandoned(t, w, "orders/1")
}

func TestTakeCutThatCannotEvenBeAbandonedSaysBoth(t *testing.T) {
	w := newWorld()
	w.fail["SealCut"] = broken("orders/1")
	w.fail["AbandonCut"] = fail.New(fail.Denied, "vault: write", "vault of east", "", errors.New("access denied"))
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})
	wantCode(t, e.GetWorkflowError(), fail.Corrupt, "orders/1", "access denied")
}

func TestTakeCutCancelledWhileSealing(t *testing.T) {
	for n, at := range map[int]string{2: "SnapshotObjects media/0", 3: "SealCut " + cut().ID} {
		w := newWorld()
		e := env(t, w)
		got := w.cancelAt(e, n)
		e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})

		if *got != at {
			t.Fatalf("cancelled at %q, not %q", *got, at)
		}

		wantCanceled(t, e.GetWorkflowError())
		abandoned(t, w, "cancel")
	}
}

func TestTakeCutWithoutObjectStores(t *testing.T) {
	w := newWorld()
	w.cut.Shards = w.cut.Shards[:4]
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})

	if err := e.GetWorkflowError(); err != nil || w.count("SnapshotObjects") != 0 || w.count("SealCut") != 1 {
		t.Fatalf("%v %v", err, w.calls)
	}
}

// A cut is taken by the process that observes the servers; without one any worker of
// the home region is asked, which says so or locks.
func TestTakeCutWhereTheServersAreObserved(t *testing.T) {
	for _, queue := range []string{"drctl.host.7", ""} {
		w := newWorld()
		w.observedBy = queue
		e := env(t, w)

		taken := ""
		e.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
			if info.ActivityType.Name == activities.QuiesceCutName {
				taken = info.TaskQueue
			}
		})
		e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})

		want := queue
		if want == "" {
			g := group()
			want = g.Queue(g.Home)
		}

		if err := e.GetWorkflowError(); err != nil || taken != want {
			t.Errorf("taken in %q, wanted %q: %v", taken, want, err)
		}
	}
}

// An observer that is not where it was found, because its worker died, is looked for again, and the
// cut is taken where it sits then.
func TestTakeCutWhereAnObserverSitsAgain(t *testing.T) {
	gone := map[string]error{
		"its process has no observer": engine.EncodeError(observing.Nobody("shop", time.Time{})),
		"its host is gone":            temporal.NewTimeoutError(enums.TIMEOUT_TYPE_SCHEDULE_TO_START, nil),
	}

	for name, err := range gone {
		w := newWorld()
		w.observedBy = "drctl.east@dead"
		e := env(t, w)

		var taken []string
		e.SetOnActivityStartedListener(func(info *activity.Info, _ context.Context, _ converter.EncodedValues) {
			if info.ActivityType.Name == activities.QuiesceCutName {
				taken = append(taken, info.TaskQueue)
			}
		})
		w.hook = func(_ context.Context, call string) error {
			if strings.HasPrefix(call, activities.QuiesceCutName) && taken[len(taken)-1] == "drctl.east@dead" {
				w.observedBy = "drctl.east@alive"
				return err
			}

			return nil
		}

		e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})

		if err := e.GetWorkflowError(); err != nil || taken[len(taken)-1] != "drctl.east@alive" || len(w.found) != 2 || !w.found[0].Gone.IsZero() || w.found[1].Gone.IsZero() {
			t.Errorf("%s: taken in %q, asked %+v: %v", name, taken, w.found, err)
		}
	}

	// It is not looked for without end.
	w := newWorld()
	w.observedBy = "drctl.east@dead"
	w.fail[activities.QuiesceCutName] = observing.Nobody("shop", time.Time{})
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})
	wantCode(t, e.GetWorkflowError(), fail.Unavailable, "nobody observes")

	if len(w.found) != 3 {
		t.Errorf("looked for %d times", len(w.found))
	}
}

func TestTakeCutWithoutAVaultToAsk(t *testing.T) {
	w := newWorld()
	w.findErr = fail.New(fail.Denied, "open the vaults", "shop", "", errors.New("access denied"))
	e := env(t, w)
	e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: group()})
	wantCode(t, e.GetWorkflowError(), fail.Denied, "access denied")

	if w.count(activities.QuiesceCutName) != 0 {
		t.Error("writers were stopped for nothing")
	}
}
