package activities

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.temporal.io/sdk/testsuite"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/report"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
	"drctl/restore/plan"
)

// inActivity calls f as an activity is called.
func inActivity(t *testing.T, f func(context.Context) error) error {
	t.Helper()

	var s testsuite.WorkflowTestSuite
	s.SetLogger(engine.Logger(nil))
	e := s.NewTestActivityEnvironment()
	e.RegisterActivity(f)
	_, err := e.ExecuteActivity(f)

	return err
}

// What the steps found does not cross the engine with them. A drill of which the
// history has lost that has not passed, whatever the counts say.
func TestADrillWithoutItsFindingsHasNotPassed(t *testing.T) {
	f := newFinisher(t)

	in := ran()
	for i := range in.Steps {
		in.Steps[i] = in.Steps[i].Brief()
	}

	if err := f.a.complete(t.Context(), &in, []engine.ActivityRun{{Name: VerifyShardName}}, 1); err != nil {
		t.Fatal(err)
	}

	if len(in.Errors) != 1 || !strings.Contains(in.Errors[0], "restore-orders/0, verify-orders/0, cross-check") {
		t.Fatalf("%q", in.Errors)
	}

	out, err := f.finish(t, in, 1)
	if err != nil {
		t.Fatal(err)
	}

	if r := record(t, out); r.Verdict.Passed || !slices.ContainsFunc(r.Verdict.Failures, func(s string) bool { return strings.Contains(s, "history lacks") }) {
		t.Errorf("%+v", r.Verdict)
	}
}

// A plan that cannot be read again leaves a report, and the drill has not passed.
func TestADrillWithoutItsPlanHasNotPassed(t *testing.T) {
	f := newFinisher(t)
	in := ran()
	in.Carried = plan.Carried{Ref: plan.Ref{ID: in.Plan.ID, SHA256: strings.Repeat("a", 64), Vaults: []string{"west"}}}

	if err := inActivity(t, func(ctx context.Context) error { return f.a.complete(ctx, &in, nil, 1) }); err == nil {
		t.Error("it is not tried again")
	}

	if err := inActivity(t, func(ctx context.Context) error { return f.a.complete(ctx, &in, nil, storeAttempts) }); err != nil {
		t.Fatal(err)
	}

	if len(in.Errors) == 0 || !strings.Contains(in.Errors[0], "the plan could not be read again") || in.Plan.ID == "" {
		t.Errorf("%q of %q", in.Errors, in.Plan.ID)
	}
}

// A record is believed when it has the hash that its writer named.
func TestReadsTheRecordThatWasNamed(t *testing.T) {
	f := newFinisher(t)

	out, err := f.finish(t, ran(), 1)
	if err != nil {
		t.Fatal(err)
	}
	read := func(file, sha string) (json.RawMessage, error) {
		return report.Read(t.Context(), f.p.Vault, []string{"west", "east"}, file, out.ID, sha)
	}

	doc, err := read("", out.SHA256)
	if err != nil || out.SHA256 == "" {
		t.Fatalf("%q %v", out.SHA256, err)
	}

	// Who can write into a vault puts a whole record there that says otherwise.
	forged := record(t, out)
	forged.Tool.Version = "2"

	_, other, err := evidence.Finalize(forged)
	if err != nil {
		t.Fatal(err)
	}
	plant := func(region string) {
		v := f.p.vaults[region]
		if err := os.Remove(filepath.Join(f.dirs[region], filepath.FromSlash(vault.ReportKey("drill", out.ID)))); err != nil {
			t.Fatal(err)
		}

		if _, err := (vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}).SaveReport(t.Context(), "drill", out.ID, json.RawMessage(other)); err != nil {
			t.Fatal(err)
		}
	}

	plant("west")

	if got, err := read("", out.SHA256); err != nil || string(got) != string(doc) {
		t.Errorf("the other vault holds it: %v", err)
	}

	plant("east")

	if got, err := read(out.JSON, out.SHA256); err != nil || len(got) == 0 {
		t.Errorf("the file holds it: %v", err)
	}

	if _, err := read("", out.SHA256); !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), out.ID) {
		t.Errorf("a forged record everywhere: %v", err)
	}
}
