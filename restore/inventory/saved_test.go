package inventory_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/targets"
)

// boundRun is a run that restores one shard from a base.
func boundRun(id string, base targets.Artifact) plan.Run {
	r := plan.Run{ID: id, Goal: plan.Goal{Group: "shop", Vault: "west", Into: plan.Sandbox}, Steps: []plan.Step{
		{ID: "restore-orders/0", Op: plan.OpRestore, Shard: base.Shard, Kind: base.Kind, Base: base, Point: base.Until}}}
	r.Hash = r.Sum()

	return r
}

func TestSavedRun(t *testing.T) {
	ctx := t.Context()
	v := vaultAt(t, "west", filepath.Join(t.TempDir(), "vault"))
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
	at := targets.Position{Kind: targets.Postgres, Timeline: "7000000000000000001-00000001", Offset: 16}
	base := targets.Artifact{ID: "20261101T000000Z-orders-0", Shard: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres, Region: "west",
		Method: "files", From: at, Until: at, Snapshot: strings.Repeat("ab", 32), Path: "/srv/data", Started: time.Now().UTC(), Finished: time.Now().UTC()}
	run := boundRun("restore-shop-1", base)

	if _, err := inventory.SavedRun(ctx, v, run.Hash); !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), "--save") {
		t.Errorf("a plan that nobody saved: %v", err)
	}

	if err := inventory.KeepRun(ctx, v, run); err != nil {
		t.Fatal(err)
	}

	for _, name := range []string{run.Hash, run.Hash[:8]} {
		if got, err := inventory.SavedRun(ctx, v, name); err != nil || got.Sum() != run.Hash || got.ID != run.ID {
			t.Errorf("%s: %+v %v", name, got, err)
		}
	}

	if _, err := inventory.SavedRun(ctx, v, run.Hash[:3]); !fail.Is(err, fail.Invalid) {
		t.Errorf("a short beginning: %v", err)
	}

	// The base has gone, or was never there: no run begins.
	if err := inventory.StillHeld(ctx, v, run); !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), base.ID) {
		t.Errorf("without its base: %v", err)
	}

	// A cut has to be kept; a moment that was found for the run need not be.
	moment := run
	moment.Steps = nil
	moment.Cut.ID = "20261101T000000.000Z-0badcafe"

	if err := inventory.StillHeld(ctx, v, moment); !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), moment.Cut.ID) {
		t.Errorf("without its cut: %v", err)
	}
	moment.Goal.Moment = time.Now()

	if err := inventory.StillHeld(ctx, v, moment); err != nil {
		t.Errorf("of a moment: %v", err)
	}

	// Two that begin alike mean neither; a changed one is refused.
	twin := boundRun("restore-shop-2", base)

	other := run.Hash[:10] + twin.Hash[10:]
	if _, err := set.SaveReport(ctx, "plan", other, twin); err != nil {
		t.Fatal(err)
	}

	if _, err := inventory.SavedRun(ctx, v, run.Hash[:9]); !fail.Is(err, fail.Invalid) {
		t.Errorf("an ambiguous beginning: %v", err)
	}

	if _, err := inventory.SavedRun(ctx, v, other); !fail.Is(err, fail.Corrupt) {
		t.Errorf("another plan under the hash: %v", err)
	}
}

func TestRunFromJSON(t *testing.T) {
	at := targets.Position{Kind: targets.Postgres, Timeline: "7000000000000000001-00000001", Offset: 16}
	run := boundRun("restore-shop-1", targets.Artifact{ID: "b1", Shard: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres, Region: "west",
		Method: "files", From: at, Until: at, Snapshot: strings.Repeat("ab", 32), Path: "/srv/data", Started: time.Now().UTC(), Finished: time.Now().UTC()})

	doc, err := json.MarshalIndent(run, "", "  ")
	if err != nil {
		t.Fatal(err)
	}

	if got, err := inventory.RunFromJSON(bytes.NewReader(doc), "f"); err != nil || got.Hash != run.Hash {
		t.Errorf("%+v %v", got, err)
	}

	edited := bytes.Replace(doc, []byte(`"/srv/data"`), []byte(`"/srv/other"`), 1)
	if _, err := inventory.RunFromJSON(bytes.NewReader(edited), "f"); !fail.Is(err, fail.Corrupt) {
		t.Errorf("an edited plan: %v", err)
	}

	if _, err := inventory.RunFromJSON(strings.NewReader(`{"nonsense":1}`), "f"); !fail.Is(err, fail.Invalid) {
		t.Errorf("no plan: %v", err)
	}
}
