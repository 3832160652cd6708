package moments

import (
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// Two moments do not share a name; the same one has it once.
func TestOneNameIsOfOneMoment(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var set vault.Set

	for _, region := range []string{"east", "west"} {
		v, err := vault.Init(t.Context(), vault.Options{Region: region, Location: vault.Location{URL: "file://" + t.TempDir() + "/v"}, Key: key,
			Set: "11111111-2222-3333-4444-555555555555"})
		if err != nil {
			t.Fatal(err)
		}
		set.Vaults = append(set.Vaults, v)
	}

	at := time.Now().UTC().Add(-time.Hour)
	moment := func(name string, offset uint64) targets.Cut {
		return targets.Cut{ID: targets.NewID(at), Name: name, Group: "shop", Mode: targets.FromLogs, QuiescedAt: at, ReleasedAt: at, SealedAt: at, SealedIn: []string{"west"},
			Shards: []targets.ShardPoint{{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres, Region: "east",
				Position: targets.Position{Kind: targets.Postgres, Timeline: "7310000000000000001-00000001", Offset: offset}}}}
	}
	kept := moment("deploy", 1000)

	if _, err := (vault.Set{Vaults: set.Vaults[1:]}).SaveCut(t.Context(), kept); err != nil {
		t.Fatal(err)
	}

	if _, ok, err := free(t.Context(), set, moment("other", 2000)); ok || err != nil {
		t.Errorf("another name: %v, %v", ok, err)
	}

	if has, ok, err := free(t.Context(), set, moment("deploy", 1000)); !ok || err != nil || has.ID != kept.ID {
		t.Errorf("the same moment: %v, %v, %v", has.ID, ok, err)
	}

	for name, cut := range map[string]targets.Cut{"another moment": moment("deploy", 2000), "the id of a cut": moment(kept.ID, 1000)} {
		if _, ok, err := free(t.Context(), set, cut); ok || !fail.Is(err, fail.Conflict) {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}

	if _, _, err := free(t.Context(), set, moment(plan.Latest, 2000)); !fail.Is(err, fail.Invalid) {
		t.Errorf("the latest: %v", err)
	}
}
