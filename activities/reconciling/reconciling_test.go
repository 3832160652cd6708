package reconciling_test

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/activities/reconciling"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/targets"
	"drctl/targets/reconciliation"
)

// place resolves instances and nothing else.
type place struct{ platform.Resolver }

func (place) Instance(_ context.Context, id targets.ShardID, region string) (targets.Instance, error) {
	return targets.Instance{Kind: targets.S3, Shard: id, Region: region}, nil
}

// driver gives one result, and remembers what it was asked.
type driver struct {
	targets.Driver
	gives reconciliation.Result
	asked []string
}

func (d *driver) Reconcile(_ context.Context, a, b targets.Instance, req reconciliation.Request) (reconciliation.Result, error) {
	known := "nothing known"
	if req.Ancestor != nil {
		known = "ancestor"
	}

	if req.DryRun || req.Delete || req.Fill {
		known += ", or more than copies"
	}
	d.asked = append(d.asked, a.Region+" "+b.Region+" "+known)

	return d.gives, nil
}

// TestStep: conflicts, failures and what is missing are for people, and a plan never deletes. The run itself is not the
// one in which both parted.
func TestStep(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "east")}, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}

	for i, run := range []string{"there", "home"} { // no cut is older than either
		p := runs.Promotion{Epoch: uint64(i + 1), Run: run, Mode: plan.ModeFailover, From: "east", To: "west", At: time.Now()}
		if _, err := set.SaveReport(t.Context(), runs.PromotionKind("shop"), runs.EpochID(p.Epoch), p); err != nil {
			t.Fatal(err)
		}
	}

	def := plan.Definition{Group: "shop", Mode: plan.ModeFailback, From: "west", To: "east"}
	x := &driver{}

	step := func() (string, error) {
		return reconciling.Step(t.Context(), place{}, x, func(context.Context, string, string) (vault.Set, error) { return set, nil }, def,
			plan.StepDef{ID: "return-media/0", Do: plan.OpReconcile, On: targets.ShardID{Target: "media", Shard: "0"}}, "home", slog.New(slog.DiscardHandler))
	}

	x.gives.ToA = 3

	if said, err := step(); err != nil || !strings.Contains(said, "copied: 3") {
		t.Errorf("%q, %v", said, err)
	}

	for _, open := range []reconciliation.Result{{Conflicts: 2}, {Failed: 1}, {Unnamed: 1}, {Deletions: 9, Doubtful: 1}, {Deletions: 9, Emptied: "east"}} {
		x.gives = open
		if _, err := step(); !fail.Is(err, fail.Unverified) || !strings.Contains(err.Error(), "drctl failback reconcile --dry-run --group shop") {
			t.Errorf("%+v: %v", open, err)
		}
	}

	x.gives = reconciliation.Result{Deletions: 9}

	if _, err := step(); err != nil {
		t.Errorf("deletions that a bucket shows: %v", err)
	}

	for _, a := range x.asked {
		if a != "west east nothing known" {
			t.Errorf("%q", a)
		}
	}
}
