package workflows_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

func restoreIn(p plan.Run) workflows.RestoreIn {
	return workflows.RestoreIn{Run: plan.Carried{Ref: plan.Ref{ID: p.ID, SHA256: p.Sum(), Vaults: []string{"west"}}}, Order: p.Outline(), Into: p.Goal.Into,
		Queue: queueOf("west"), Queues: map[string]string{"east": queueOf("east"), "west": queueOf("west")}}
}

func runRestore(t *testing.T, w *world, in workflows.RestoreIn) workflows.RestoreOut {
	t.Helper()
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Restore, in)

	var out workflows.RestoreOut
	if err := e.GetWorkflowResult(&out); err != nil {
		t.Fatal(err)
	}

	return out
}

func TestRestoreIntoASandbox(t *testing.T) {
	w := newWorld()

	out := runRestore(t, w, restoreIn(w.plan))
	if len(out.Steps) != 6 || len(out.Failed)+len(out.NotRun)+len(out.Unverified) != 0 || out.Sandbox.ID == "" || len(w.leftOpen()) != 1 {
		t.Fatalf("%+v", out)
	}

	for _, s := range []string{"orders/0", "orders/1", "carts/0"} {
		if w.index(t, "RestoreShard "+s) > w.index(t, "VerifyShard "+s) {
			t.Errorf("%s was verified before it was restored", s)
		}
	}

	if w.index(t, "CheckSpace") > w.index(t, "RestoreShard orders/0") {
		t.Error("the free space was looked at too late")
	}
}

// What took hours is not thrown away because its host is away for some minutes.
func TestRestoreWaitsForItsSandboxToBeKept(t *testing.T) {
	w := newWorld()
	w.hook = func(_ context.Context, call string) error {
		if strings.HasPrefix(call, "KeepSandbox") && w.count("KeepSandbox") < 30 {
			return fail.Newf(fail.Unavailable, "sandbox: keep", "box", "the host is away")
		}

		return nil
	}

	out := runRestore(t, w, restoreIn(w.plan))
	if len(out.Failed)+len(out.NotRun) != 0 || len(w.kept) == 0 || len(w.leftOpen()) != 1 {
		t.Fatalf("%+v, kept %v", out, w.kept)
	}
}

func TestRestoreIntoInstancesOpensNoSandbox(t *testing.T) {
	w := newWorld()
	p := planOf("orders/0")

	p.Goal.Into = plan.Instances
	for i := range p.Steps {
		p.Steps[i].Into = plan.Destination{Region: "east", DataDir: "/srv/new"}
	}

	out := runRestore(t, w, restoreIn(p))
	if w.count("OpenSandbox")+w.count("CloseSandbox") != 0 || len(out.Steps) != 2 || out.Sandbox.ID != "" {
		t.Fatalf("%+v %v", out, w.calls)
	}
}

// Three targets, one after the other: what comes later waits for all of what
// comes before, and verification waits for its own restore alone.
func TestRestoreKeepsTheOrder(t *testing.T) {
	p := planOf("orders/0", "orders/1", "carts/0", "media/0")
	p.Steps[2].Needs = []string{"restore-orders/0", "restore-orders/1"}
	p.Steps[3].Needs = []string{"restore-carts/0"}
	slices.Reverse(p.Steps) // the order of the list says nothing
	w := newWorld()
	w.hook = func(_ context.Context, call string) error {
		if call == "RestoreShard orders/1" {
			time.Sleep(30 * time.Millisecond)
		}

		return nil
	}

	out := runRestore(t, w, restoreIn(p))
	if len(out.Steps) != 8 {
		t.Fatalf("%+v", out)
	}

	i := func(s string) int { return w.index(t, s) }
	if i("RestoreShard carts/0") < i("RestoreShard orders/0") || i("RestoreShard carts/0") < i("RestoreShard orders/1") ||
		i("RestoreShard media/0") < i("RestoreShard carts/0") {
		t.Fatalf("%v", w.calls)
	}

	done := func(s string) int {
		return slices.IndexFunc(out.Steps, func(x plan.StepOut) bool { return x.StepID == s })
	}
	if done("restore-orders/1") > done("restore-carts/0") || done("restore-carts/0") > done("restore-media/0") {
		t.Fatalf("a step ended before what it needs: %+v", out.Steps)
	}
}

func TestRestoreKeepsItsWindow(t *testing.T) {
	for _, window := range []int{1, 2} {
		w := newWorld()
		w.hook = func(context.Context, string) error { time.Sleep(10 * time.Millisecond); return nil }
		in := restoreIn(w.plan)

		in.Order.Window = window
		if out := runRestore(t, w, in); len(out.Steps) != 6 || w.most > window {
			t.Errorf("window %d: %d at once", window, w.most)
		}
	}
}

func TestRestoreFailedStepStopsOnlyItsDependants(t *testing.T) {
	p := planOf("orders/0", "orders/1", "carts/0")
	p.Steps[2].Needs = []string{"restore-orders/1"} // carts wait for orders/1 only
	w := newWorld()
	w.fail["RestoreShard orders/1"] = broken("chunk x of orders/1")

	out := runRestore(t, w, restoreIn(p))
	if !slices.Equal(out.Failed, []string{"restore-orders/1"}) || len(out.Unverified) != 0 {
		t.Fatalf("failed %v, unverified %v", out.Failed, out.Unverified)
	}

	why := map[string]string{}
	for _, n := range out.NotRun {
		why[n.StepID] = n.Why
	}

	if len(why) != 3 || why["verify-orders/1"] != "restore-orders/1 was not done" || why["restore-carts/0"] != "restore-orders/1 was not done" || why["verify-carts/0"] == "" {
		t.Fatalf("%v", why)
	}

	if w.count("VerifyShard orders/0") != 1 || w.count("RestoreShard carts/0") != 0 {
		t.Fatalf("%v", w.calls)
	}

	for _, s := range out.Steps {
		if s.StepID == "restore-orders/1" && (!strings.Contains(s.Error, "chunk x of orders/1") || strings.Contains(s.Error, "scheduledEventID") || s.Finished.Before(s.Started) || s.Started.IsZero()) {
			t.Errorf("%+v", s)
		}
	}
	// The sandbox stays: three of six steps are worth a look.
	if len(w.leftOpen()) != 1 {
		t.Error("the sandbox is gone")
	}
}

// A step counts all its attempts, whether the last one succeeds or fails, and
// its time begins with the first.
func TestRestoreCountsAttempts(t *testing.T) {
	again := fail.New(fail.Unavailable, "test", "", "", errors.New("connection refused"))
	for name, last := range map[string]error{"done": nil, "failed": broken("orders/0")} {
		p := planOf("orders/0")
		w := newWorld()
		n := 0
		w.hook = func(_ context.Context, call string) error {
			if !strings.HasPrefix(call, "RestoreShard") {
				return nil
			}

			if n++; n < 3 {
				return again
			}

			return last
		}
		e := env(t, w)
		e.ExecuteWorkflow(workflows.Restore, restoreIn(p))

		var out workflows.RestoreOut
		if err := e.GetWorkflowResult(&out); err != nil {
			t.Fatal(err)
		}

		s := out.Steps[0]
		if s.Attempt != 3 || (s.Error != "") != (last != nil) || s.Started.Before(out.Started) || s.Started.After(t0.Add(time.Minute)) {
			t.Errorf("%s: %+v", name, s)
		}

		if last != nil && s.Finished.Sub(s.Started) < 3*time.Second { // of the workflow's clock: the pauses between the attempts
			t.Errorf("%s: the step is said to have taken %s", name, s.Finished.Sub(s.Started))
		}
	}
}

// A check that finds something is a finding of a step that was done.
func TestRestoreTellsAFindingFromAFailure(t *testing.T) {
	w := newWorld()
	w.findings["orders/0"] = []targets.Finding{{Check: "starts", Severity: targets.Passed}, {Check: "pg_amcheck", Severity: targets.Failed}}
	w.findings["carts/0"] = []targets.Finding{{Check: "keys", Severity: targets.Warned}, {Check: "rdb", Severity: targets.Skipped}}
	w.fail["VerifyShard orders/1"] = broken("orders/1")

	out := runRestore(t, w, restoreIn(w.plan))
	if !slices.Equal(out.Unverified, []string{"verify-orders/0"}) || !slices.Equal(out.Failed, []string{"verify-orders/1"}) || len(out.NotRun) != 0 {
		t.Fatalf("unverified %v, failed %v, not run %v", out.Unverified, out.Failed, out.NotRun)
	}
	// Skipped checks show nothing.
	if !slices.Equal(out.Unchecked, []string{"verify-carts/0"}) {
		t.Fatalf("unchecked %v", out.Unchecked)
	}

	for _, s := range out.Steps {
		if (s.Error != "") != (s.StepID == "verify-orders/1") {
			t.Errorf("%s: error %q", s.StepID, s.Error)
		}
	}
}

func TestRestoreRefusedForWantOfSpace(t *testing.T) {
	w := newWorld()
	w.noRoom = true
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Restore, restoreIn(w.plan))
	wantCode(t, e.GetWorkflowError(), fail.Exhausted, "1 KiB free, 300 B needed")

	if len(w.leftOpen()) != 0 || w.count("RestoreShard") != 0 {
		t.Fatalf("%v", w.calls)
	}
}

func TestRestoreDiscards(t *testing.T) {
	w := newWorld()
	in := restoreIn(w.plan)

	in.Discard = true
	if out := runRestore(t, w, in); out.LeftOver != "" || len(w.leftOpen()) != 0 {
		t.Fatalf("%+v", out)
	}
	w = newWorld()

	w.fail["CloseSandbox"] = fail.New(fail.Denied, "sandbox: remove", "/box/x", "", errors.New("operation not permitted"))
	if out := runRestore(t, w, in); !strings.Contains(out.LeftOver, "/box/"+out.Sandbox.ID) || !strings.Contains(out.LeftOver, "operation not permitted") {
		t.Fatalf("%q", out.LeftOver)
	}
}

func TestRestoreSandboxThatCannotBeRemovedIsReported(t *testing.T) {
	w := newWorld()
	w.noRoom = true
	w.fail["CloseSandbox"] = fail.New(fail.Denied, "sandbox: remove", "/box/x", "", errors.New("operation not permitted"))
	e := env(t, w)
	e.ExecuteWorkflow(workflows.Restore, restoreIn(w.plan))
	wantCode(t, e.GetWorkflowError(), fail.Exhausted, "/box/restore-shop-1", "operation not permitted", "1 KiB free")

	w = newWorld()
	w.fail["CloseSandbox"] = fail.New(fail.Denied, "sandbox: remove", "/box/x", "", errors.New("operation not permitted"))
	e = env(t, w)
	w.cancelAt(e, 4)
	e.ExecuteWorkflow(workflows.Restore, restoreIn(w.plan))
	wantCanceled(t, e.GetWorkflowError())

	if n := w.count("CloseSandbox"); n != 1 { // not a matter of trying again
		t.Errorf("%d attempts to remove", n)
	}
}

func TestRestoreRemovalIsTriedAgain(t *testing.T) {
	w := newWorld()
	n := 0
	w.hook = func(_ context.Context, call string) error {
		if call == "CloseSandbox" {
			if n++; n < 4 {
				return fail.New(fail.Unavailable, "sandbox: remove", "/box/x", "", errors.New("device or resource busy"))
			}
		}

		return nil
	}
	in := restoreIn(w.plan)

	in.Discard = true
	if out := runRestore(t, w, in); out.LeftOver != "" || len(w.leftOpen()) != 0 || n != 4 {
		t.Fatalf("%+v after %d", out, n)
	}
}

// The calls of a restore are: open, space, three restores, three verifications.
func TestRestoreCancelledAtEveryStep(t *testing.T) {
	seen := map[string]bool{}
	for n := 1; n <= 8; n++ {
		w := newWorld()
		e := env(t, w)
		in := restoreIn(w.plan)
		in.Order.Window = 1
		at := w.cancelAt(e, n)
		e.ExecuteWorkflow(workflows.Restore, in)

		if *at == "" {
			t.Fatalf("there is no call %d: %v", n, w.calls)
		}
		seen[strings.Fields(*at)[0]] = true

		wantCanceled(t, e.GetWorkflowError())

		if open := w.leftOpen(); len(open) != 0 {
			t.Errorf("cancelled at %s: %v is left over; calls %v", *at, open, w.calls)
		}
		// What had not begun does not begin.
		if got := w.count("RestoreShard") + w.count("VerifyShard"); got > max(0, n-2) {
			t.Errorf("cancelled at %s: %d steps ran", *at, got)
		}
	}

	for _, name := range []string{"OpenSandbox", "CheckSpace", "RestoreShard", "VerifyShard"} {
		if !seen[name] {
			t.Errorf("%s was never cancelled", name)
		}
	}
}
