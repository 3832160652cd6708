package activities_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"drctl/activities"
	"drctl/internal/platform"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/targets"
)

// What retention removed and what a check found are bounded where they cross
// the boundary, counted in full, and nowhere lost.
func TestLargeOutcomesAreBounded(t *testing.T) {
	w, _ := mediaWorld(t)
	a := w.activities(resolver{w, platform.Policy{Vaults: []string{"east"}, Retention: vault.RetentionPolicy{KeepCuts: time.Hour}}})
	east := w.set.Vaults[0]

	const n = 250
	for i := range n + 1 {
		at := time.Now().UTC().Add(time.Duration(i-n)*time.Second - 48*time.Hour)

		c := targets.Cut{ID: targets.IDTime(at) + "-00ab", Group: group, QuiescedAt: at, SealedAt: at}
		if _, err := (vault.Set{Vaults: []*vault.Vault{east}}).SaveCut(t.Context(), c); err != nil {
			t.Fatal(err)
		}
	}

	out, err := execute[activities.RetainOut](a, activities.RetainName, activities.CheckIn{Region: "east", Group: group}, nil)
	if err != nil {
		t.Fatal(err)
	}

	if out.Cuts != n || len(out.Result.Cuts) == 0 || len(out.Result.Cuts)+len(out.Plan.Cuts) > 100 || out.Plan.KeptCuts != 1 {
		t.Fatalf("%d cuts, %d and %d listed", out.Cuts, len(out.Result.Cuts), len(out.Plan.Cuts))
	}

	var whole activities.RetainOut
	if err := east.Report(t.Context(), upkeep.RetentionReports, out.Report, &whole); err != nil || len(whole.Result.Cuts) != n {
		t.Fatalf("%v, the report names %d cuts", err, len(whole.Result.Cuts))
	}

	dir := filepath.Join(w.dir, "east", "objects", "media", "0", "data", "00")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}

	for i := range n {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%064x.zst.age", i)), []byte("damaged"), 0o600); err != nil {
			t.Fatal(err)
		}
	}

	chk, err := execute[activities.CheckOut](a, activities.CheckVaultName, activities.CheckIn{Region: "east", Group: group}, nil)
	if err != nil {
		t.Fatal(err)
	}

	b, err := json.Marshal(chk)
	if err != nil || chk.Failed != n || chk.Checks <= n || len(chk.Findings) > 100 || chk.Findings[0].Severity != targets.Failed || len(b) > 200<<10 {
		t.Fatalf("%v: %d failed of %d, %d listed in %d bytes", err, chk.Failed, chk.Checks, len(chk.Findings), len(b))
	}
}
