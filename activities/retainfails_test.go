package activities_test

import (
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

// A retention that broke off is on record in its vault until one has ended well.
func TestRetentionThatBreaksOffIsOnRecord(t *testing.T) {
	w, _ := mediaWorld(t)
	a := w.activities(resolver{w, platform.Policy{Vaults: []string{"east"}, Retention: vault.RetentionPolicy{KeepCuts: time.Hour}}})
	east := w.set.Vaults[0]
	now := time.Now().UTC()

	c := targets.Cut{ID: targets.IDTime(now) + "-00ab", Group: group, QuiescedAt: now, SealedAt: now}
	if _, err := (vault.Set{Vaults: []*vault.Vault{east}}).SaveCut(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	retain := func() error {
		_, err := execute[activities.RetainOut](a, activities.RetainName, activities.CheckIn{Region: "east", Group: group}, nil)
		return err
	}
	last := func() string {
		t.Helper()

		out, err := upkeep.LastRetention(t.Context(), east, group)
		if err != nil {
			t.Fatal(err)
		}

		return out.Error
	}
	record := filepath.Join(w.dir, "east", filepath.FromSlash(vault.CutKey(group, c.ID)))

	whole, err := os.ReadFile(record)
	if err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(record, []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}

	if err := retain(); err == nil || last() == "" {
		t.Fatalf("%v; on record is %q", err, last())
	}

	if err := os.WriteFile(record, whole, 0o600); err != nil {
		t.Fatal(err)
	}

	time.Sleep(2 * time.Millisecond) // a report's id is its time

	if err := retain(); err != nil || last() != "" {
		t.Fatalf("%v; on record is still %q", err, last())
	}
}
