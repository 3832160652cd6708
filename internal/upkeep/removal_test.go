package upkeep

import (
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/targets"
)

func TestRemoveBase(t *testing.T) {
	ctx := t.Context()

	v, shard, base, cuts := holeVault(t, vault.ChunkName{From: 100, To: 300})
	if _, err := (vault.Set{Vaults: []*vault.Vault{v}}).SaveCut(ctx, cuts[0]); err != nil {
		t.Fatal(err)
	}
	g := platform.Group{Name: "shop", Shards: []platform.Shard{{Shard: shard, Kind: targets.Redis}}}
	remove := func(id string, force, dry bool) (Retention, error) {
		return RemoveBase(ctx, v, g, Removal{Shard: shard, Base: vault.BaseRef{ID: id}, Force: force}, time.Now(), dry)
	}
	holds := func(id string) bool {
		_, err := FindBase(ctx, v, g, id)
		if err != nil && !fail.Is(err, fail.NotFound) {
			t.Fatal(err)
		}

		return err == nil
	}

	if _, err := remove("b1", true, false); !fail.Is(err, fail.Conflict) || !holds("b1") {
		t.Errorf("the last base: %v", err)
	}

	base("b2", 300)
	base("b3", 390)

	// The base before the hole does not lead to the cut, and the one after it comes too late.
	if _, err := remove("b2", false, false); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "cut c") || !holds("b2") {
		t.Errorf("a base that a cut needs: %v", err)
	}

	if _, err := remove("b3", false, true); err != nil || !holds("b3") {
		t.Errorf("a dry run: %v", err)
	}

	for range 2 { // a repeat is no error
		if out, err := remove("b3", false, false); err != nil || holds("b3") || !holds("b2") || !holds("b1") {
			t.Errorf("%+v %v", out, err)
		}
	}

	reports, err := v.Reports(ctx, RetentionReports)
	if err != nil || len(reports) == 0 {
		t.Errorf("no report of it: %v", err)
	}

	// The window of the policy is kept even where no cut is.
	g.Policy.Retention.KeepBasesFor = 30 * 24 * time.Hour

	if _, err := remove("b1", false, false); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "the instants from") || !holds("b1") {
		t.Errorf("a base that the window needs: %v", err)
	}

	if _, err := remove("b2", true, false); err != nil || holds("b2") {
		t.Errorf("forced: %v", err)
	}
}
