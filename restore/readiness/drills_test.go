package readiness

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/engine"
	"drctl/internal/vault"
	"drctl/targets"
)

// A drill that did not come to its end in time is overdue: also one that never began, and one whose last run the engine
// has forgotten.
func TestDrillsAreOverdueByTheirCalendar(t *testing.T) {
	const every = 24 * time.Hour
	now := time.Now()

	ago := func(d time.Duration) time.Time { return now.Add(-d) }

	for _, c := range []struct {
		name          string
		created, last time.Time // by schedule and vault
		ended         time.Time // by the engine
		unread        bool
		paused        bool
		says          string
	}{
		{name: "it ran in time", created: ago(100 * every), ended: ago(every)},
		{name: "it ran too long ago", created: ago(100 * every), ended: ago(2 * every), says: "last ran"},
		{name: "it is paused", created: ago(100 * every), ended: ago(2 * every), paused: true},
		{name: "it was scheduled just now", created: ago(every)},
		{name: "it never ran", created: ago(2 * every), says: "has never run"},
		{name: "it never ran, as far as is known", created: ago(2 * every), unread: true},
		{name: "only the vaults know", created: ago(100 * every), last: ago(every)},
		{name: "only the vaults know, and it was long ago", created: ago(100 * every), last: ago(2 * every), says: "last ran"},
		{name: "only the vaults know, and not all tell", created: ago(100 * every), last: ago(2 * every), unread: true, says: "last ran"},
	} {
		x := Schedule{Schedule: engine.Schedule{ID: "drill/nightly", Every: every}, Kind: DrillRuns, Drill: "nightly", Created: c.created, Paused: c.paused}
		x.Newest.Ended = c.ended

		f := Facts{now: now, engine: Engine{Schedules: []Schedule{x}}, drills: drillFacts{last: map[string]time.Time{"nightly": c.last}, read: !c.unread}}

		var got string
		for _, p := range f.judgeSchedules() {
			if p.Code == "drill-overdue" {
				got = p.What
			}
		}

		if (got == "") != (c.says == "") || !strings.Contains(got, c.says) {
			t.Errorf("%s: %q, want %q", c.name, got, c.says)
		}
	}
}

// The vaults know when a drill last ran, by the names of its records.
func TestTheVaultsKnowDrills(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "west", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "west")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}

	first, second := time.Date(2026, 11, 1, 1, 2, 3, 0, time.UTC), time.Date(2026, 11, 2, 1, 2, 3, 0, time.UTC)
	for _, id := range []string{"drill-a-" + targets.IDTime(second), "drill-a-" + targets.IDTime(first), "drill-a-b-" + targets.IDTime(first), "drill-odd"} {
		if _, err := (vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}).SaveReport(t.Context(), drillKind, id, map[string]string{}); err != nil {
			t.Fatal(err)
		}
	}

	f := askDrills(t.Context(), []*vault.Vault{v})
	if !f.read || len(f.last) != 2 || !f.last["a"].Equal(second) || !f.last["a-b"].Equal(first) {
		t.Errorf("%+v", f)
	}

	if f := askDrills(t.Context(), nil); f.read {
		t.Error("nobody has told")
	}
}
