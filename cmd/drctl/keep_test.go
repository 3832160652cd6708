package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"drctl/cmd/drctl/restoreview"
	"drctl/cmd/drctl/serve"
	"drctl/internal/sandbox"
	"drctl/internal/ui"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

// A worker removes kept sandboxes whose time was up before it began and those
// whose time comes while it runs, and no others.
func TestWorkerSweepsKeptSandboxes(t *testing.T) {
	root := t.TempDir()

	now := time.Now()
	for id, expires := range map[string]time.Time{"long-gone": now.Add(-time.Hour), "soon": now.Add(400 * time.Millisecond), "later": now.Add(time.Hour), "never": {}} {
		b, err := sandbox.Create(context.Background(), sandbox.Options{Root: root, ID: id, Purpose: "drill"})
		if err != nil {
			t.Fatal(err)
		}

		if expires.IsZero() {
			continue
		}

		if err := b.Keep(expires); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	// Two workers of one host share the directory.
	for range 2 {
		go func() {
			serve.Sweep(ctx, root, nil, 20*time.Millisecond, slog.New(slog.DiscardHandler))

			done <- struct{}{}
		}()
	}

	left := func() map[string]bool {
		out := map[string]bool{}

		bs, err := sandbox.List(root)
		if err != nil {
			t.Fatal(err)
		}

		for _, b := range bs {
			out[b.ID()] = true
		}

		return out
	}
	for end := time.Now().Add(2 * time.Minute); len(left()) > 2; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("left: %v", left())
		}

		// The clock is read last: it was there no later than that.
		if l := left(); !l["soon"] && time.Since(now) < 300*time.Millisecond {
			t.Fatal("removed before its time")
		}
	}

	cancel()
	<-done
	<-done

	if l := left(); !l["later"] || !l["never"] {
		t.Fatalf("left: %v", l)
	}
}

// Where the history lacks what a check found, the verdict is still known.
func TestAFailedCheckIsWrongWithoutItsFindings(t *testing.T) {
	var out bytes.Buffer

	verified := plan.StepOut{StepID: "verify-orders/0", Op: plan.OpVerify, Findings: []targets.Finding{{Severity: targets.Failed}}}
	err := restoreview.Outcome(&out, false, workflows.RestoreOut{Steps: []plan.StepOut{{StepID: "r", Op: plan.OpRestore}, verified.Brief()}, Unverified: []string{"verify-orders/0"}})

	if err == nil || !strings.Contains(out.String(), "WRONG") {
		t.Errorf("%v\n%s", err, &out)
	}
}

func TestRestoreStatus(t *testing.T) {
	step := func(id string, op plan.Op, err string, fs ...targets.Finding) plan.StepOut {
		return plan.StepOut{StepID: id, Op: op, Error: err, Findings: fs}
	}

	restored, lost := step("r", plan.OpRestore, ""), step("r2", plan.OpRestore, "damaged")
	for name, c := range map[string]struct {
		out  workflows.RestoreOut
		code int
	}{
		"all well":             {workflows.RestoreOut{Steps: []plan.StepOut{restored, step("v", plan.OpVerify, "")}}, 0},
		"a finding":            {workflows.RestoreOut{Steps: []plan.StepOut{restored, step("v", plan.OpVerify, "", targets.Finding{Severity: targets.Failed})}, Unverified: []string{"v"}}, 4},
		"a check did not run":  {workflows.RestoreOut{Steps: []plan.StepOut{restored, step("v", plan.OpVerify, "refused")}, Failed: []string{"v"}}, 3},
		"a finding and a loss": {workflows.RestoreOut{Steps: []plan.StepOut{restored, lost}, Failed: []string{"r2"}, Unverified: []string{"v"}, NotRun: []plan.NotRun{{StepID: "v2"}}}, 3},
		"nothing restored":     {workflows.RestoreOut{Steps: []plan.StepOut{lost}, Failed: []string{"r2"}, NotRun: []plan.NotRun{{StepID: "v2"}}}, 1},
		"nothing began":        {workflows.RestoreOut{NotRun: []plan.NotRun{{StepID: "r"}}}, 1},
		"nothing to do":        {workflows.RestoreOut{}, 1},
	} {
		err := restoreview.Status(c.out)
		var e ui.Exit

		if c.code == 0 && err == nil {
			continue
		}

		if !errors.As(err, &e) || e.Code != c.code {
			t.Errorf("%s: %v, want %d", name, err, c.code)
		}
	}
}
