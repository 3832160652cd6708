package parted_test

import (
	"strings"
	"testing"
	"time"

	"drctl/restore/parted"
	"drctl/restore/plan"
	"drctl/restore/runs"
	"drctl/targets"
)

// TestSealedAfterTheyParted: a bucket without versions is listed until the cut is sealed. One that was
// under way when the regions parted has what one of them took alone.
func TestSealedAfterTheyParted(t *testing.T) {
	w, now := newWorld(t), time.Now().UTC()
	set := w.set("east", "west")

	cut := func(quiesced, sealed time.Duration) string {
		sha, err := set.Shard(media).PutManifest(t.Context(), now.Add(-quiesced), strings.NewReader(""))
		w.must(err)

		c := targets.Cut{ID: targets.NewID(now.Add(-quiesced)), Group: "shop", QuiescedAt: now.Add(-quiesced), SealedAt: now.Add(-sealed), Shards: []targets.ShardPoint{{Shard: media, Kind: targets.S3, Region: "east",
			Position: targets.Position{Kind: targets.S3, AsOf: now.Add(-quiesced), Manifest: sha}}}}
		_, err = set.SaveCut(t.Context(), c)
		w.must(err)

		return c.ID
	}

	whole := cut(3*time.Hour, 3*time.Hour-time.Minute)
	cut(2*time.Hour, 30*time.Minute)

	_, err := set.SaveReport(t.Context(), runs.PromotionKind("shop"), runs.EpochID(1), runs.Promotion{Epoch: 1, Run: "r1", Mode: plan.ModeFailover, From: "east", To: "west", At: now.Add(-time.Hour)})
	w.must(err)

	if a, err := parted.Find(t.Context(), set, "shop", media, "west", "east", ""); err != nil || a.Cut != whole {
		t.Errorf("%v %+v, not %s", err, a, whole)
	}
}
