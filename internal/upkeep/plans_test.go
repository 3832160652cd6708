package upkeep

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/platform"
	"drctl/internal/vault"
)

// TestOldPlansGo: a saved plan goes with what it was made for, another group's stays.
func TestOldPlansGo(t *testing.T) {
	v, _, _, _ := holeVault(t, vault.ChunkName{})
	now := time.Now()

	for n, group := range []string{"shop", "shop", "other"} {
		id := strings.Repeat(fmt.Sprint(n), 64)
		if _, err := (vault.Set{Vaults: []*vault.Vault{v}}).SaveReport(t.Context(), planReports, id, map[string]any{"goal": map[string]any{"group": group}}); err != nil {
			t.Fatal(err)
		}

		if n == 1 { // this one is young
			continue
		}
		at := now.Add(-40 * 24 * time.Hour)

		file := filepath.Join(strings.TrimPrefix(v.Store().URL(), "file://"), vault.ReportKey(planReports, id))
		if err := os.Chtimes(file, at, at); err != nil {
			t.Fatal(err)
		}
	}

	left := func() string {
		ids, err := v.Reports(t.Context(), planReports)
		if err != nil {
			t.Fatal(err)
		}

		s := ""
		for _, id := range ids {
			s += id[:1]
		}

		return s
	}
	g := platform.Group{Name: "shop"}

	g.Policy.Retention = vault.RetentionPolicy{KeepCuts: 60 * 24 * time.Hour}
	if out, err := Retain(t.Context(), v, g, now); err != nil || out.Plans != 0 || left() != "012" {
		t.Fatalf("while its cuts are kept: %s %v", left(), err)
	}

	g.Policy.Retention = vault.RetentionPolicy{KeepCuts: time.Hour}
	if out, err := WouldRetain(t.Context(), v, g, now); err != nil || out.Plans != 1 || left() != "012" {
		t.Fatalf("a look: %d %s %v", out.Plans, left(), err)
	}

	if out, err := Retain(t.Context(), v, g, now); err != nil || out.Plans != 1 || left() != "12" {
		t.Errorf("%d %s %v", out.Plans, left(), err)
	}
}
