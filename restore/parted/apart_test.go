package parted_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore/parted"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/targets"
)

func (w *world) has(region, part string) bool {
	w.Helper()

	for _, k := range w.keys(region) {
		if strings.Contains(k, part) {
			return true
		}
	}

	return false
}

// TestDamageInOneVault is named, and does not keep from it what the other has.
func TestDamageInOneVault(t *testing.T) {
	w := newWorld(t)
	inEast, _ := w.life("7441-00000001", "east alone", "r2", 2, 4096, 8192, "east")
	inWest, cut := w.life("7441-00000002", "west alone", "r3", 3, 4096, 12288, "west")
	key := vault.ObjectKey(media, inEast)

	w.must(os.WriteFile(filepath.Join(w.roots["east"], key), []byte("damaged"), 0o600))

	_, err := parted.Merge(t.Context(), w.open, "east", "west", nil)
	if !fail.Is(err, fail.Corrupt) || !strings.Contains(err.Error(), inEast) {
		t.Errorf("%v", err)
	}

	if w.has("west", inEast) {
		t.Error("the damaged object was copied")
	}

	if !w.has("east", inWest) || !w.has("east", cut.ID) {
		t.Error("the other way nothing was done")
	}
}

// TestOneNameTwoHistories: two servers were promoted from one log, each beside one of the vaults. Neither
// history comes into the vault of the other.
func TestOneNameTwoHistories(t *testing.T) {
	w := newWorld(t)
	w.life("7441-00000001", "together", "r1", 1, 0, 8192, "east", "west")

	var cuts []targets.Cut

	for i, region := range []string{"east", "west"} {
		from := uint64(4096 * (i + 1))

		a, err := stream.NewArchiver(t.Context(), stream.Options{Set: w.set(region), Shard: orders, Kind: targets.Postgres})
		w.must(err)
		w.must(a.Begin(t.Context(), "7441-00000002", from, targets.Position{Kind: targets.Postgres, Timeline: "7441-00000001", Offset: from}, nil))
		w.must(a.Write(t.Context(), from, []byte(strings.Repeat(region[:1], 4096))))
		w.must(a.Close(t.Context()))

		at := time.Now().UTC()
		c := targets.Cut{ID: targets.NewID(at), Group: "shop", QuiescedAt: at, SealedAt: at, Shards: []targets.ShardPoint{{Shard: orders, Kind: targets.Postgres, Region: region,
			Position: targets.Position{Kind: targets.Postgres, Timeline: "7441-00000002", Offset: from + 4096}}}}
		_, err = w.set(region).SaveCut(t.Context(), c)
		w.must(err)

		cuts = append(cuts, c)
	}

	// Both were the second run, and each vault knows of its own.
	for region, run := range map[string]string{"east": "r2 in east", "west": "r2 in west"} {
		_, err := w.set(region).SaveReport(t.Context(), runs.PromotionKind("shop"), runs.EpochID(2), runs.Promotion{Epoch: 2, Run: run, Mode: plan.ModeFailover, From: "east", To: "west"})
		w.must(err)
	}

	sha, _, err := w.set("west").Shard(media).PutObject(t.Context(), strings.NewReader("of another shard"))
	w.must(err)

	_, err = parted.Merge(t.Context(), w.open, "east", "west", nil)
	if !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "7441-00000002") || !strings.Contains(err.Error(), "r2 in east") {
		t.Errorf("%v", err)
	}

	if w.has("west", cuts[0].ID) || w.has("east", cuts[1].ID) {
		t.Error("a cut was copied that leads into another history there")
	}

	for region, v := range w.v {
		all, err := stream.Load(t.Context(), v, orders)
		w.must(err)

		for _, l := range all {
			if l.ID == "7441-00000002" && len(l.Chunks) != 1 {
				t.Errorf("%s has chunks of both histories", region)
			}
		}
	}

	if !w.has("east", sha) {
		t.Error("a shard that nothing is wrong with was left out")
	}
}
