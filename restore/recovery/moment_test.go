package recovery_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// A moment is planned like a cut, without being sealed, and takes of a bucket the
// newest snapshot at or before it; a cut that was asked for has to be sealed.
func TestAMomentIsPlannedLikeACut(t *testing.T) {
	inv := example()
	found := &inv.Cuts[0]
	found.SealedAt, found.SealedIn = time.Time{}, nil
	found.Shards = slices.Clone(found.Shards)
	found.Shards[1].Position.Manifest = ""
	inv.Shards[2].Manifests = []recovery.Manifest{
		{AsOf: epoch.Add(-time.Minute), SHA256: strings.Repeat("cd", 32)},
		{AsOf: epoch.Add(time.Second), SHA256: strings.Repeat("ef", 32)},
	}

	g := plan.Goal{Group: "shop", Cut: found.ID, Vault: "west", Into: plan.Sandbox}
	if _, err := recovery.Build(g, plan.ModeRestore, inv, later); !fail.Is(err, fail.NotFound) {
		t.Fatalf("a cut that is not sealed was planned: %v", err)
	}

	g.Moment = epoch

	run, err := recovery.Build(g, plan.ModeRestore, inv, later)
	if err != nil {
		t.Fatal(err)
	}

	if s, _ := run.Step("restore-media/main"); s.Point.Manifest != strings.Repeat("cd", 32) {
		t.Errorf("the bucket comes from the snapshot %+v", s.Point)
	}

	if s, _ := run.Step("restore-orders/0"); s.Point.Offset != 0x3000100 || !s.Until.IsZero() {
		t.Errorf("the shard is replayed to %+v, until %s", s.Point, s.Until)
	}

	if !slices.ContainsFunc(run.Warnings, func(w string) bool { return strings.Contains(w, "newest snapshot of objects") }) {
		t.Errorf("nobody is told how old the objects are: %v", run.Warnings)
	}
}

// A cut that lacks a shard is not the latest, whatever its age; who names it is told.
func TestAPartialCutIsNotTheLatest(t *testing.T) {
	inv := example()
	newer := inv.Cuts[0]
	newer.ID, newer.Shards = "20261123T120500.000Z-0001", newer.Shards[:1]
	newer.Without = []targets.Absent{{Shard: inv.Shards[0].Shard, Why: "connection refused"}}
	inv.Cuts = append(inv.Cuts, newer)

	g := plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "west", Into: plan.Sandbox}
	if run, err := recovery.Build(g, plan.ModeRestore, inv, later); err != nil || run.Cut.Partial() {
		t.Errorf("the latest cut lacks %v, %v", run.Cut.Without, err)
	}

	g.Cut = newer.ID

	run, err := recovery.Build(g, plan.ModeRestore, inv, later)
	if err != nil || !slices.ContainsFunc(run.Warnings, func(w string) bool { return strings.Contains(w, "orders/0 is not in the cut") }) {
		t.Errorf("%v, %v", run.Warnings, err)
	}
}
