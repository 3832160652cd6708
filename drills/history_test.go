package drills_test

import (
	"path/filepath"
	"testing"
	"time"

	"drctl/drills"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
)

// A cancelled drill is no verdict: the one before it stays the last.
func TestHistory(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "vault")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	begin := time.Date(2026, 11, 1, 3, 0, 0, 0, time.UTC)
	for i, r := range []struct {
		id                string
		passed, cancelled bool
	}{{"a-passed", true, false}, {"b-cancelled", false, true}, {"c-failed", false, false}, {"d-cancelled", false, true}} {
		rec := evidence.Record{ID: r.id, Name: "nightly", Started: begin.Add(time.Duration(i) * time.Hour), Verdict: evidence.Verdict{Passed: r.passed}}
		if r.cancelled {
			rec.Checks = []evidence.Check{{Name: drills.RanToItsEnd, Verdict: "failed", Detail: drills.CancelledText}}
		}

		if _, err := (vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}).SaveReport(t.Context(), "drill", r.id, rec); err != nil {
			t.Fatal(err)
		}

		want := []drills.Last{
			{Verdict: evidence.Record{ID: "a-passed"}},
			{Verdict: evidence.Record{ID: "a-passed"}, Cancelled: evidence.Record{ID: "b-cancelled"}},
			{Verdict: evidence.Record{ID: "c-failed"}},
			{Verdict: evidence.Record{ID: "c-failed"}, Cancelled: evidence.Record{ID: "d-cancelled"}},
		}[i]
		last, damaged, err := drills.History(t.Context(), v)

		got := last["nightly"]
		if err != nil || len(damaged) > 0 || got.Verdict.ID != want.Verdict.ID || got.Cancelled.ID != want.Cancelled.ID {
			t.Errorf("after %s: last verdict %q, cancelled %q, %v %v", r.id, got.Verdict.ID, got.Cancelled.ID, damaged, err)
		}
	}
}
