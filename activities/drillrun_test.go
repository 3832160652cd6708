package activities_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/workflow"

	"drctl/drills"
	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/internal/sandbox"
	"drctl/targets"
	"drctl/workflows"
)

// disturbed is a driver whose verification is disturbed by a test.
type disturbed struct {
	targets.Driver
	verify *atomic.Pointer[func(targets.Instance) error]
}

func (d disturbed) Verify(ctx context.Context, in targets.Instance, want targets.Expectation) ([]targets.Finding, error) {
	if f := d.verify.Load(); f != nil {
		if err := (*f)(in); err != nil {
			return nil, err
		}
	}

	return d.Driver.Verify(ctx, in, want)
}

// driller runs drills of a world on a real engine.
type driller struct {
	w      *world
	c      client.Client
	runs   int
	verify atomic.Pointer[func(targets.Instance) error]
}

func newDriller(t *testing.T, w *world) *driller {
	t.Helper()
	d := &driller{w: w, c: enginetest.Client(t, enginetest.Start(t, enginetest.Options(t)))}
	a := w.activities(resolver{w, policy(targets.Gate)})

	a.Drivers[targets.Redis] = disturbed{a.Drivers[targets.Redis], &d.verify}
	for _, q := range []string{a.HostQueue, "drctl.west", "drctl.west/sandbox"} {
		wk := engine.NewWorker(d.c, q, engine.WorkerOptions{Identity: "tester@here"})
		wk.RegisterWorkflowWithOptions(workflows.RunDrill, workflow.RegisterOptions{Name: workflows.RunDrillName})
		a.Register(wk)

		if err := wk.Start(); err != nil {
			t.Fatal(err)
		}

		t.Cleanup(wk.Stop)
	}

	return d
}

func drillOf(name string) drills.Definition {
	return drills.Definition{Name: name, Group: group, Cut: drills.Latest, Vault: "west", Objectives: evidence.Objectives{RTO: time.Hour, RPO: time.Hour},
		Checks: drills.Checks{
			Assertions: map[string][]targets.Assertion{
				"orders": {{Name: "accounts are there", Query: "SELECT count(*) FROM accounts", Want: "100"}},
				"carts":  {{Name: "carts are there", Query: "DBSIZE", Want: ">0"}}},
			Sums:    []drills.Sum{{Name: "money is conserved", Target: "orders", Query: "SELECT (SELECT sum(balance) FROM accounts) - (SELECT value FROM meta WHERE name = 'balance')", Want: "0"}},
			Objects: []drills.ObjectCheck{{Target: "media", From: "orders", Query: "SELECT key, sha256 FROM product_images"}}}}
}

// run runs a drill to its end and returns its verified record.
func (d *driller) run(t *testing.T, in workflows.RunDrillIn) (drills.Outcome, evidence.Record) {
	t.Helper()

	d.runs++
	in.Queue, in.By, in.Window = "drctl.west", "a test", 2

	run, err := d.c.ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: fmt.Sprintf("drill/%d", d.runs), TaskQueue: in.Queue}, workflows.RunDrillName, in)
	if err != nil {
		t.Fatal(err)
	}

	var out drills.Outcome
	if err := run.Get(t.Context(), &out); err != nil {
		t.Fatal(engine.DecodeError(err))
	}

	if len(out.Record) > 0 {
		t.Error("a record that the vaults hold crossed the engine")
	}

	doc, err := os.ReadFile(out.JSON)
	if err != nil {
		t.Fatal(err)
	}

	rec, err := evidence.Verify(doc)
	if err != nil {
		t.Fatal(err)
	}

	return out, rec
}

func (d *driller) boxes(t *testing.T) (dirs []string) {
	t.Helper()

	bs, err := sandbox.List(filepath.Join(d.w.dir, "boxes"))
	if err != nil {
		t.Fatal(err)
	}

	for _, b := range bs {
		dirs = append(dirs, b.Dir())
	}

	return dirs
}

func stepOf(rec evidence.Record, id string) evidence.Step {
	for _, s := range rec.Steps {
		if s.ID == id {
			return s
		}
	}

	return evidence.Step{}
}

// TestDrills runs drills of a platform under traffic from end to end: real
// stores, vaults, engine and sandboxes.
func TestDrills(t *testing.T) {
	w := newWorld(t, 2)
	a := w.activities(resolver{w, policy(targets.Gate)})

	stopFollow := w.follow(t, a)
	defer stopFollow()

	_, stop := w.traffic(t, true)
	defer stop()

	w.bases(t, a, "early")
	cuts := w.cuts(t, a, 3, 2*time.Second)

	stop()
	stopFollow()

	if t.Failed() || len(cuts) != 3 {
		t.Fatalf("%d cuts", len(cuts))
	}
	d := newDriller(t, w)

	t.Run("passes", func(t *testing.T) {
		out, rec := d.run(t, workflows.RunDrillIn{Drill: drillOf("passes")})
		if err := drills.VerdictError("passes", rec.Verdict); err != nil || !out.Passed || rec.RecoveryPoint.CutID != cuts[2].ID {
			t.Errorf("%v, cut %s: %+v", err, rec.RecoveryPoint.CutID, rec.Verdict)
		}

		for _, s := range rec.Steps {
			if s.Attempts != 1 || s.Actor != "drctl worker tester@here" || s.Outcome != evidence.StepDone {
				t.Errorf("%+v", s)
			}
		}

		if !rec.Isolation.Proven || len(d.boxes(t)) != 0 {
			t.Errorf("isolation %+v, left %v", rec.Isolation, d.boxes(t))
		}
	})
	t.Run("misses an objective", func(t *testing.T) {
		def := drillOf("late")
		def.Objectives.RTO = time.Nanosecond

		out, rec := d.run(t, workflows.RunDrillIn{Drill: def})
		if out.Passed || len(rec.Verdict.Failures) != 1 || !strings.Contains(rec.Verdict.Failures[0], "RTO objective missed") {
			t.Errorf("%+v", rec.Verdict)
		}

		if code := fail.ExitCode(drills.VerdictError("late", rec.Verdict)); code != 4 {
			t.Errorf("exit status %d", code)
		}
	})
	t.Run("draws a cut", func(t *testing.T) {
		def := drillOf("random")
		def.Cut, def.Window, def.Checks.Quick = drills.Random, time.Hour, true

		_, rec := d.run(t, workflows.RunDrillIn{Drill: def})
		if !rec.Verdict.Passed || rec.Sample.Population != 3 || rec.Sample.Seed == "" || rec.Sample.Seed == "0" {
			t.Errorf("%+v %+v", rec.Sample, rec.Verdict)
		}

		if _, err := fmt.Sscan(rec.Sample.Seed, &def.Seed); err != nil {
			t.Fatal(err)
		}

		again, sample, err := drills.PickCut(cuts, def, rec.Started, time.Time{}, 0)
		if err != nil || again.ID != rec.RecoveryPoint.CutID || sample.PopulationSHA256 != rec.Sample.PopulationSHA256 {
			t.Errorf("the recorded seed draws %s, the drill recovered %s: %v", again.ID, rec.RecoveryPoint.CutID, err)
		}
	})
	t.Run("recovers what there was before the disaster, and keeps it", func(t *testing.T) {
		at := cuts[0].SealedAt.Add(time.Millisecond)

		out, rec := d.run(t, workflows.RunDrillIn{Drill: drillOf("disaster"), Disaster: at, Keep: true})
		if rpo, _ := rec.Measured.RPO.Get(); !out.Passed || rec.RecoveryPoint.CutID != cuts[0].ID || rpo < at.Sub(cuts[0].QuiescedAt) {
			t.Errorf("cut %s, RPO %+v, %+v", rec.RecoveryPoint.CutID, rec.Measured.RPO, rec.Verdict)
		}

		if left := d.boxes(t); len(left) != 1 || out.Sandbox != left[0] {
			t.Fatalf("kept %q, left %v", out.Sandbox, left)
		}
		// It outlives its workflow until somebody removes it.
		removed, err := sandbox.Sweep(t.Context(), filepath.Join(w.dir, "boxes"), time.Now(), func(sandbox.Run) bool { return true })
		if err != nil || len(removed) != 0 {
			t.Errorf("swept %v, %v", removed, err)
		}

		box, err := sandbox.Open(out.Sandbox)
		if err != nil {
			t.Fatal(err)
		}

		if err := box.Remove(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("has no cut from before the disaster", func(t *testing.T) {
		out, rec := d.run(t, workflows.RunDrillIn{Drill: drillOf("too-early"), Disaster: cuts[0].QuiescedAt})
		if out.Passed || !strings.Contains(rec.Verdict.Failures[0], "none of 3 sealed cuts was taken and sealed before the disaster") {
			t.Errorf("%+v", rec.Verdict)
		}

		if _, ok := rec.Measured.RPO.Get(); ok {
			t.Errorf("an RPO of nothing: %+v", rec.Measured)
		}
	})
	t.Run("fails in a sandbox that cannot be removed", func(t *testing.T) { d.stuck(t) })
}

// stuck disturbs a verification twice, so that it is repeated, and then for good;
// the sandbox holds a mount, so that it cannot be removed.
func (d *driller) stuck(t *testing.T) {
	var asked atomic.Int32
	mnt := ""
	t.Cleanup(func() {
		if mnt != "" {
			if err := syscall.Unmount(mnt, syscall.MNT_DETACH); err != nil {
				t.Error(err)
			}
		}
	})
	f := func(in targets.Instance) error {
		if asked.Add(1) < 3 {
			return fail.New(fail.Unavailable, "verify", in.Shard.String(), "", errors.New("not now"))
		}

		if os.Geteuid() == 0 {
			at := filepath.Join(filepath.Dir(in.DataDir), "mount")
			if err := errors.Join(os.Mkdir(at, 0o755), syscall.Mount("tmpfs", at, "tmpfs", 0, "size=1m")); err != nil {
				return err
			}
			mnt = at
		}

		return fail.New(fail.Corrupt, "verify", in.Shard.String(), "", errors.New("planted"))
	}

	d.verify.Store(&f)
	defer d.verify.Store(nil)

	out, rec := d.run(t, workflows.RunDrillIn{Drill: drillOf("stuck")})
	if s := stepOf(rec, "verify-carts/0"); s.Outcome != evidence.StepFailed || s.Attempts != 3 || s.Actor != "drctl worker tester@here" || !strings.Contains(s.Error, "planted") {
		t.Errorf("the disturbed step: %+v", s)
	}

	if os.Geteuid() != 0 {
		t.Log("only root can make a sandbox that cannot be removed")
		return
	}

	left := d.boxes(t)
	if len(left) != 1 {
		t.Fatalf("left %v", left)
	}

	if s := stepOf(rec, "remove-sandbox"); out.Passed || s.Outcome != evidence.StepFailed || !strings.Contains(strings.Join(rec.Verdict.Failures, "\n"), "left over: sandbox "+filepath.Base(left[0])+" ("+left[0]+")") {
		t.Errorf("%+v %+v", s, rec.Verdict)
	}
}
