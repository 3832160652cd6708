package workflows_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/targets"
	"drctl/workflows"
)

func drillIn() workflows.RunDrillIn {
	return workflows.RunDrillIn{Drill: drill(), Queue: queueOf("west"), By: "a test", Window: 1}
}

// runDrill runs a drill and returns what its report was made from.
func runDrill(t *testing.T, w *world, in workflows.RunDrillIn) activities.FinishIn {
	t.Helper()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.RunDrill, in)

	if err := e.GetWorkflowError(); err != nil {
		t.Fatal(err)
	}

	return report(t, w)
}

func report(t *testing.T, w *world) activities.FinishIn {
	t.Helper()

	if len(w.finished) != 1 {
		t.Fatalf("%d reports were written: %v", len(w.finished), w.calls)
	}

	f := w.finished[0]
	if f.Started.IsZero() || f.Ended.Before(f.Started) || f.Finished.Before(f.Ended) || f.Run == "" || f.Drill.Name != "nightly" {
		t.Errorf("times or names are missing: %+v", f)
	}

	return f
}

func skipped(f activities.FinishIn) (ids []string) {
	for _, n := range f.NotRun {
		if n.Why == "" {
			ids = append(ids, "no reason:")
		}
		ids = append(ids, n.StepID)
	}

	return ids
}

func TestRunDrill(t *testing.T) {
	w := newWorld()

	f := runDrill(t, w, drillIn())
	if len(f.Steps) != 6 || len(f.NotRun)+len(f.Errors)+len(f.LeftOver) != 0 || f.Cross.StepID != activities.CrossCheckStep || f.PlanError+f.OpenError != "" {
		t.Fatalf("%+v", f)
	}

	if len(w.leftOpen()) != 0 || f.RemovedAt.IsZero() || f.RemovedAt.Before(f.Ended) || f.Finished.Before(f.RemovedAt) {
		t.Fatalf("ended %v, removed %v, finished %v", f.Ended, f.RemovedAt, f.Finished)
	}

	if len(f.Prechecks) != 1 || !f.Prechecks[0].Passed || f.Planned.IsZero() || f.Opened.IsZero() {
		t.Fatalf("%+v", f.Prechecks)
	}

	if w.index(t, "CloseSandbox") > w.index(t, "FinishDrill") || w.index(t, "CrossCheck") > w.index(t, "CloseSandbox") {
		t.Fatalf("%v", w.calls)
	}
}

// Whatever fails, a report is written that says it, and no sandbox is left.
func TestRunDrillEveryFailureLeavesAReport(t *testing.T) {
	all := []string{"restore-orders/0", "restore-orders/1", "restore-carts/0", "verify-orders/0", "verify-orders/1", "verify-carts/0", "cross-check"}
	for call, c := range map[string]struct {
		notRun []string
		says   func(activities.FinishIn) string
	}{
		"PickDrill":             {[]string{"open-sandbox", "cross-check"}, func(f activities.FinishIn) string { return f.PlanError }},
		"OpenSandbox":           {all, func(f activities.FinishIn) string { return f.OpenError }},
		"CheckSpace":            {all, func(f activities.FinishIn) string { return f.OpenError }},
		"RestoreShard orders/1": {[]string{"verify-orders/1", "cross-check"}, func(f activities.FinishIn) string { return stepError(f, "restore-orders/1") }},
		"VerifyShard carts/0":   {nil, func(f activities.FinishIn) string { return stepError(f, "verify-carts/0") }},
		"CrossCheck":            {nil, func(f activities.FinishIn) string { return f.Cross.Error }},
		"CloseSandbox":          {nil, func(f activities.FinishIn) string { return strings.Join(f.LeftOver, "; ") }},
	} {
		w := newWorld()
		w.fail[call] = broken("the subject of " + call)

		f := runDrill(t, w, drillIn())
		if got := skipped(f); !slices.Equal(got, c.notRun) {
			t.Errorf("%s: not run %v, want %v", call, got, c.notRun)
		}

		if got := c.says(f); !strings.Contains(got, "the subject of "+call) || !strings.Contains(got, "planted") || strings.Contains(got, "scheduledEventID") {
			t.Errorf("%s: the report says %q", call, got)
		}

		if len(w.leftOpen()) != 0 && call != "CloseSandbox" {
			t.Errorf("%s: a sandbox is left over", call)
		}

		if f.RemovedAt.IsZero() != (f.Sandbox.ID == "" || call == "CloseSandbox") {
			t.Errorf("%s: removed at %v", call, f.RemovedAt)
		}
	}
}

func stepError(f activities.FinishIn, id string) string {
	for _, s := range f.Steps {
		if s.StepID == id {
			return s.Error
		}
	}

	return "no such step"
}

func TestRunDrillRefusedForWantOfSpace(t *testing.T) {
	w := newWorld()
	w.noRoom = true

	f := runDrill(t, w, drillIn())
	if len(f.Prechecks) != 1 || f.Prechecks[0].Passed || len(f.Steps) != 0 || len(f.NotRun) != 7 || len(w.leftOpen()) != 0 || w.count("RestoreShard") != 0 {
		t.Fatalf("%+v %v", f, w.calls)
	}
}

// A finding stops nothing: the cross-check runs, and no step is failed.
func TestRunDrillFindingIsNotAFailedStep(t *testing.T) {
	w := newWorld()
	w.findings["orders/0"] = []targets.Finding{{Check: "pg_amcheck", Severity: targets.Failed}}

	f := runDrill(t, w, drillIn())
	if w.count("CrossCheck") != 1 || len(f.NotRun)+len(f.Errors) != 0 {
		t.Fatalf("%v %+v", w.calls, f.NotRun)
	}

	for _, s := range f.Steps {
		if s.Error != "" {
			t.Errorf("%s: %q", s.StepID, s.Error)
		}
	}
}

func TestRunDrillFailedCrossCheckHasItsTimes(t *testing.T) {
	w := newWorld()
	w.fail["CrossCheck"] = fail.New(fail.Unavailable, "drill: check", "orders/0", "", errors.New("connection refused"))

	f := runDrill(t, w, drillIn())
	if f.Cross.Started.IsZero() || f.Cross.Finished.Before(f.Cross.Started) || f.Cross.StepID != activities.CrossCheckStep || w.count("CrossCheck") != 2 {
		t.Fatalf("%+v %v", f.Cross, w.calls)
	}
}

// The calls of a drill are: pick, open, space, three restores, three
// verifications, cross-check, then the clean-up and the report.
func TestRunDrillCancelledAtEveryStep(t *testing.T) {
	for n := 1; n <= 10; n++ {
		w := newWorld()
		e := env(t, w)
		at := w.cancelAt(e, n)
		in := drillIn()
		in.Keep, in.KeepFailed = n%2 == 0, time.Hour // a cancelled drill leaves nothing all the same
		e.ExecuteWorkflow(workflows.RunDrill, in)

		if *at == "" {
			t.Fatalf("there is no call %d: %v", n, w.calls)
		}

		wantCanceled(t, e.GetWorkflowError())

		if open := w.leftOpen(); len(open) != 0 {
			t.Errorf("cancelled at %s: %v is left over", *at, open)
		}

		f := report(t, w)
		if !strings.Contains(strings.Join(f.Errors, ""), "cancelled") {
			t.Errorf("cancelled at %s: the report does not say so: %+v", *at, f.Errors)
		}

		if f.Sandbox.ID != "" && f.RemovedAt.IsZero() {
			t.Errorf("cancelled at %s: the report knows nothing of the removal", *at)
		}

		if n < 10 && f.Cross.StepID != "" || n < 10 && !slices.Contains(skipped(f), "cross-check") {
			t.Errorf("cancelled at %s: cross-check %+v, not run %v", *at, f.Cross, skipped(f))
		}
	}
	// While it cleans up or writes its report, a cancellation changes nothing.
	for n := 11; n <= 12; n++ {
		w := newWorld()
		e := env(t, w)
		at := new(string)
		k := 0
		w.hook = func(_ context.Context, call string) error {
			if k++; k == n {
				*at = call

				e.CancelWorkflow()
				time.Sleep(20 * time.Millisecond)
			}

			return nil
		}

		e.ExecuteWorkflow(workflows.RunDrill, drillIn())

		if len(w.leftOpen()) != 0 || *at == "" {
			t.Errorf("cancelled at call %d %q: %v", n, *at, w.calls)
		}

		report(t, w)
	}
}

// Loss is measured to when the recovery was ordered: a cut that was taken while
// the engine started comes too late.
func TestRunDrillPicksACutFromBeforeTheOrder(t *testing.T) {
	for name, c := range map[string]struct {
		ordered time.Duration // after the start
		want    time.Duration
	}{"before the start": {-3 * time.Second, -3 * time.Second}, "not told": {0, 0}, "after the start": {time.Second, 0}} {
		w, in := newWorld(), drillIn()

		now := time.Now().UTC()
		if c.ordered != 0 {
			in.Ordered = now.Add(c.ordered)
		}
		e := env(t, w)
		e.SetStartTime(now)
		e.ExecuteWorkflow(workflows.RunDrill, in)

		if got := w.picked; e.GetWorkflowError() != nil || len(got) != 1 || !got[0].Now.Equal(now.Add(c.want)) {
			t.Errorf("ordered %s: %v of %v; %v", name, got, now, e.GetWorkflowError())
		}
	}
}

func TestRunDrillKeepsWhatFailed(t *testing.T) {
	finding := []targets.Finding{{Check: "sum", Severity: targets.Failed}}
	for name, c := range map[string]struct {
		prepare func(*world)
		in      func(*workflows.RunDrillIn)
		kept    bool // until a recorded time
		open    int  // sandboxes in the end
	}{
		"a check failed":       {func(w *world) { w.findings["orders/0"] = finding }, nil, true, 1},
		"a cross-check failed": {func(w *world) { w.findings["cross"] = finding }, nil, true, 1},
		"a step failed":        {func(w *world) { w.fail["RestoreShard orders/0"] = broken("x") }, nil, true, 1},
		"a check could not run": {func(w *world) {
			w.findings["cross"] = []targets.Finding{{Check: "pg_amcheck", Severity: targets.Skipped}}
		}, nil, true, 1},
		"a check was left out": {func(w *world) {
			w.findings["cross"] = []targets.Finding{{Check: "pg_amcheck", Severity: targets.Skipped}}
		}, func(in *workflows.RunDrillIn) { in.Drill.Checks.Quick = true }, false, 0},
		"nothing failed":                          {func(*world) {}, nil, false, 0},
		"there is no plan":                        {func(w *world) { w.fail["PickDrill"] = broken("x") }, nil, false, 0},
		"it does not fit":                         {func(w *world) { w.noRoom = true }, nil, false, 0},
		"keep is not set":                         {func(w *world) { w.findings["cross"] = finding }, func(in *workflows.RunDrillIn) { in.KeepFailed = 0 }, false, 0},
		"kept by hand for good":                   {func(w *world) { w.findings["cross"] = finding }, func(in *workflows.RunDrillIn) { in.Keep = true }, false, 1},
		"kept by hand, and it cannot be recorded": {func(w *world) { w.fail["KeepSandbox"] = broken("x") }, func(in *workflows.RunDrillIn) { in.Keep = true }, false, 0},
		// What nobody will remove later goes at once.
		"the time cannot be recorded": {func(w *world) { w.findings["cross"] = finding; w.fail["KeepSandbox"] = broken("x") }, nil, false, 0},
	} {
		w := newWorld()
		c.prepare(w)
		in := drillIn()

		in.KeepFailed = 6 * time.Hour
		if c.in != nil {
			c.in(&in)
		}

		f := runDrill(t, w, in)
		if got := !f.KeptUntil.IsZero(); got != c.kept || len(w.leftOpen()) != c.open {
			t.Errorf("%s: kept until %v, %d sandboxes left", name, f.KeptUntil, len(w.leftOpen()))
		}

		if c.kept && (len(w.kept) != 1 || !w.kept[0].Until.Equal(f.KeptUntil) || f.KeptUntil.Sub(f.Ended) != 6*time.Hour || !f.RemovedAt.IsZero()) {
			t.Errorf("%s: %+v, recorded %+v", name, f.KeptUntil, w.kept)
		}
	}
}

func TestScheduledRunsAChild(t *testing.T) {
	w := newWorld()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Scheduled, workflows.ScheduledIn{ID: "check/shop", Workflow: workflows.CheckName, Queue: queueOf("east"), Input: []byte(`{"group":{"policy":{"vaults":["east"]}}}`)})

	if err := e.GetWorkflowError(); err != nil || w.count("CheckVault east") != 1 {
		t.Fatal(err, w.calls)
	}
	w = newWorld()
	w.fail["CheckVault"] = broken("vault of east")
	e = env(t, w)
	e.ExecuteWorkflow(workflows.Scheduled, workflows.ScheduledIn{ID: "check/shop", Workflow: workflows.CheckName, Queue: queueOf("east"), Input: []byte(`{"group":{"policy":{"vaults":["east"]}}}`)})
	wantCode(t, e.GetWorkflowError(), fail.Corrupt, "vault of east")
}
