package parted_test

import (
	"context"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
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

var (
	orders = targets.ShardID{Target: "orders", Shard: "0"}
	media  = targets.ShardID{Target: "media", Shard: "0"}
)

type world struct {
	*testing.T
	roots map[string]string
	v     map[string]*vault.Vault
}

func newWorld(t *testing.T) *world {
	t.Helper()

	w := &world{T: t, roots: map[string]string{}, v: map[string]*vault.Vault{}}

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	for _, region := range []string{"east", "west"} {
		w.roots[region] = filepath.Join(t.TempDir(), region)

		v, err := vault.Init(t.Context(), vault.Options{Region: region, Set: "6f327b85-4a6c-446e-b2c5-9e1f4b163b8e", Location: vault.Location{URL: "file://" + w.roots[region]}, Key: key})
		if err != nil {
			t.Fatal(err)
		}
		w.v[region] = v
	}

	return w
}

func (w *world) open(_ context.Context, region string) (*vault.Vault, error) {
	if v := w.v[region]; v != nil {
		return v, nil
	}

	return nil, fail.Newf(fail.Unavailable, "test", region, "it is away")
}

func (w *world) set(regions ...string) (out vault.Set) {
	out.Durability = 1
	for _, r := range regions {
		out.Vaults = append(out.Vaults, w.v[r])
	}

	return out
}

func (w *world) must(err error) {
	w.Helper()

	if err != nil {
		w.Fatal(err)
	}
}

// life is what a group keeps in some vaults in a while: log, an object, a cut, a run that has ended.
func (w *world) life(timeline, object, run string, epoch uint64, from, to uint64, regions ...string) (sha string, cut targets.Cut) {
	w.Helper()
	set := w.set(regions...)

	a, err := stream.NewArchiver(w.Context(), stream.Options{Set: set, Shard: orders, Kind: targets.Postgres})
	w.must(err)
	w.must(a.Begin(w.Context(), timeline, from, targets.Position{}, nil))
	w.must(a.Write(w.Context(), from, []byte(strings.Repeat(object[:1], int(to-from)))))
	w.must(a.Close(w.Context()))

	sha, _, err = set.Shard(media).PutObject(w.Context(), strings.NewReader(object))
	w.must(err)

	at := time.Now().UTC()
	cut = targets.Cut{ID: targets.NewID(at), Group: "shop", QuiescedAt: at, SealedAt: at, Shards: []targets.ShardPoint{{Shard: orders, Kind: targets.Postgres, Region: regions[0],
		Position: targets.Position{Kind: targets.Postgres, Timeline: timeline, Offset: to}}}}
	_, err = set.SaveCut(w.Context(), cut)
	w.must(err)

	_, err = set.SaveReport(w.Context(), runs.PromotionKind("shop"), runs.EpochID(epoch), runs.Promotion{Epoch: epoch, Run: run, Mode: plan.ModeFailover, From: "east", To: "west", At: at})
	w.must(err)
	_, err = set.SaveReport(w.Context(), runs.EndKind("shop"), run, map[string]any{"verdict": "reached"})
	w.must(err)

	return sha, cut
}

// keys are the files of a vault, but for what is the vault's own.
func (w *world) keys(region string) (out []string) {
	w.Helper()

	w.must(filepath.WalkDir(w.roots[region], func(path string, e fs.DirEntry, err error) error {
		if rel, _ := filepath.Rel(w.roots[region], path); err == nil && !e.IsDir() && strings.Contains(rel, "/") {
			out = append(out, rel)
		}

		return err
	}))
	slices.Sort(out)

	return out
}

// TestVaultsThatWentOnSeparately: through a failover each vault was alone for a while. After the merge both have all
// of it, and either of them is enough.
func TestVaultsThatWentOnSeparately(t *testing.T) {
	w := newWorld(t)
	w.life("7441-00000001", "together", "r1", 1, 0, 4096, "east", "west")

	// The west is cut off, and the east goes on; then the east is lost, and the west takes over.
	inEast, cutEast := w.life("7441-00000001", "east alone", "r2", 2, 4096, 8192, "east")
	inWest, cutWest := w.life("7441-00000002", "west alone", "r3", 3, 4096, 12288, "west")

	if slices.Equal(w.keys("east"), w.keys("west")) {
		t.Fatal("they did not go on separately")
	}

	said, err := parted.Merge(t.Context(), w.open, "east", "west", nil)
	w.must(err)

	if slices.Equal([]string{said}, []string{"0 objects (0 B) to the vault of west; 0 objects (0 B) to the vault of east"}) || !strings.Contains(said, "to the vault of west") || !strings.Contains(said, "to the vault of east") {
		t.Errorf("%q", said)
	}

	if east, west := w.keys("east"), w.keys("west"); !slices.Equal(east, west) {
		t.Errorf("they are not alike\n%q\n%q", east, west)
	}

	for region, v := range w.v {
		for sha, want := range map[string]string{inEast: "east alone", inWest: "west alone"} {
			r, err := w.set(region).Shard(media).Object(t.Context(), sha)
			w.must(err)

			if b, err := io.ReadAll(r); err != nil || string(b) != want {
				t.Errorf("%s: %v %q", region, err, b)
			}

			r.Close()
		}

		for _, c := range []targets.Cut{cutEast, cutWest} {
			if got, err := v.Cut(t.Context(), "shop", c.ID); err != nil || got.ID != c.ID {
				t.Errorf("%s: %v", region, err)
			}
		}

		for _, x := range []struct {
			timeline string
			to       uint64
			letter   string
		}{{"7441-00000001", 8192, "e"}, {"7441-00000002", 12288, "w"}} {
			r, err := stream.NewReader(v, orders).Log(t.Context(), targets.Span{Timeline: x.timeline, From: 4096, To: x.to})
			w.must(err)

			if b, err := io.ReadAll(r); err != nil || string(b) != strings.Repeat(x.letter, int(x.to-4096)) {
				t.Errorf("%s: log of %s: %v, %d bytes", region, x.timeline, err, len(b))
			}

			r.Close()
		}

		if ps, err := runs.Promotions(t.Context(), v, "shop"); err != nil || len(ps) != 3 {
			t.Errorf("%s: %v %+v", region, err, ps)
		}
	}

	if said, err := parted.Merge(t.Context(), w.open, "east", "west", func(string, int64, int64) {}); err != nil || strings.Count(said, "0 objects (0 B)") != 2 {
		t.Errorf("a second time: %v %q", err, said)
	}

	delete(w.v, "west")

	if _, err := parted.Merge(t.Context(), w.open, "east", "west", nil); !fail.Is(err, fail.Unavailable) {
		t.Errorf("a vault that is away: %v", err)
	}
}
