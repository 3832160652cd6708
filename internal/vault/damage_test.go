package vault

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// whole fills a vault with one of everything and returns the cut.
func whole(t testing.TB, set Set) (targets.Artifact, targets.Cut) {
	t.Helper()
	ctx := context.Background()
	a := saveBase(t, set, "b1", tree(t, someFiles))
	now := time.Now().UTC().Truncate(time.Millisecond)

	origin := []byte(`{"lineage":"` + testTimeline + `","offset":0}`)
	if _, err := set.PutEncrypted(ctx, OriginKey(shardA, testTimeline), nil, origin); err != nil {
		t.Fatal(err)
	}

	for i := range uint64(6) {
		if _, err := set.PutEncrypted(ctx, ChunkKey(shardA, testTimeline, i*1000, (i+1)*1000, now), nil, noise(1000)); err != nil {
			t.Fatal(err)
		}
	}
	sv := set.Shard(media)

	var manifest bytes.Buffer
	for i := range 5 {
		sha, _, err := sv.PutObject(ctx, bytes.NewReader(noise(3000+i)))
		if err != nil {
			t.Fatal(err)
		}

		fmt.Fprintf(&manifest, "{\"key\":\"k%d\",\"sha256\":%q}\n", i, sha)
	}

	must(sv.PutManifest(ctx, time.Now(), strings.NewReader("")))
	m := must(sv.PutManifest(ctx, time.Now(), &manifest))

	c := targets.Cut{ID: "20260101T000000.000Z-0001", Group: "shop", QuiescedAt: now, SealedAt: now, Shards: []targets.ShardPoint{
		{Shard: shardA, Kind: targets.Postgres, Region: "east", Position: targets.Position{Kind: targets.Postgres, Timeline: testTimeline, Offset: 5000}},
		{Shard: media, Kind: targets.S3, Region: "east", Position: targets.Position{Kind: targets.S3, Manifest: m}}}}
	if _, err := set.SaveCut(ctx, c); err != nil {
		t.Fatal(err)
	}

	if _, err := set.SaveReport(ctx, "drill", "r1", 1); err != nil {
		t.Fatal(err)
	}

	return a, c
}

// copyVault copies a file vault on disk, to be damaged.
func copyVault(t testing.TB, v *Vault) *Vault {
	t.Helper()

	dst := filepath.Join(t.TempDir(), "copy")
	if err := os.CopyFS(dst, os.DirFS(v.store.(*fileStore).root)); err != nil {
		t.Fatal(err)
	}
	o := v.opt
	o.Location.URL = "file://" + dst

	return must(Open(context.Background(), o))
}

func firstKey(t testing.TB, v *Vault, prefix string) string {
	t.Helper()

	keys := keysOf(t, v.store, prefix)
	if len(keys) == 0 {
		t.Fatalf("nothing under %s", prefix)
	}

	return keys[0]
}

// largestPack is the pack that holds data rather than trees.
func largestPack(t testing.TB, v *Vault) string {
	t.Helper()

	var best Info
	for i, err := range v.store.List(context.Background(), ResticPrefix(shardA)+"data/", "") {
		if err != nil {
			t.Fatal(err)
		}

		if i.Size > best.Size {
			best = i
		}
	}

	return best.Key
}

// TestPlantedDamage: each kind of damage is found by Verify and named.
func TestPlantedDamage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	good := fileVault(t, "east", testKey(t))

	base, cut := whole(t, Set{Vaults: []*Vault{good}})
	if fs := must(good.Verify(ctx, VerifyOptions{ReadData: "100%"})); Damaged(fs) || len(fs) < 10 {
		t.Fatalf("a sound vault: %+v", fs)
	}
	chunks := keysOf(t, good.store, TimelinePrefix(shardA, testTimeline))
	manifests := keysOf(t, good.store, ManifestsPrefix(media))
	object := firstKey(t, good, ObjectsPrefix(media))
	pack := largestPack(t, good)
	packName := pack[strings.LastIndexByte(pack, '/')+1:]
	swap := func(from, to string) func(testing.TB, *Vault) {
		return func(t testing.TB, v *Vault) { overwrite(t, onDisk(v, to), must(os.ReadFile(onDisk(v, from)))) }
	}
	remove := func(key string) func(testing.TB, *Vault) {
		return func(t testing.TB, v *Vault) { _ = os.Remove(onDisk(v, key)) }
	}

	flipAt := func(key string, at int) func(testing.TB, *Vault) {
		return func(t testing.TB, v *Vault) { flip(t, onDisk(v, key), at) }
	}
	for _, c := range []struct {
		name   string
		damage func(testing.TB, *Vault)
		names  string
		quick  bool // found without reading the packs
	}{
		{"flipped byte in a chunk", flipAt(chunks[2], 500), chunks[2], true},
		{"flipped byte in a manifest", flipAt(manifests[1], -20), manifests[1], true},
		{"flipped byte in an object", flipAt(object, 400), object, true},
		{"truncated chunk", func(t testing.TB, v *Vault) { _ = os.Truncate(onDisk(v, chunks[1]), 700) }, chunks[1], true},
		{"chunk over another", swap(chunks[1], chunks[3]), chunks[3], true},
		{"older manifest swapped in", swap(manifests[0], manifests[1]), manifests[1], true},
		{"missing manifest", remove(manifests[1]), cut.ID, true},
		{"missing object", remove(object), object, true},
		{"chunk of the wrong length", func(t testing.TB, v *Vault) {
			_ = os.Remove(onDisk(v, chunks[0]))
			if err := v.PutEncrypted(ctx, chunks[0], nil, noise(999)); err != nil {
				t.Fatal(err)
			}
		}, chunks[0], true},
		{"flipped byte in a cut", flipAt(CutKey("shop", cut.ID), 300), cut.ID, true},
		{"flipped byte in a base record", flipAt(BaseRecordKey(shardA, "b1"), 300), "bases/orders/1/b1/record.json", true},
		{"missing base file", remove(BaseFileKey(shardA, "b1", "backup_label")), "backup_label", true},
		{"missing snapshot", remove(ResticPrefix(shardA) + "snapshots/" + base.Snapshot), base.Snapshot, true},
		{"missing pack", remove(pack), packName, true},
		{"truncated pack", func(t testing.TB, v *Vault) {
			_ = os.Chmod(onDisk(v, pack), 0o600)
			_ = os.Truncate(onDisk(v, pack), 5000)
		}, packName, true},
		{"missing index", remove(firstKey(t, good, ResticPrefix(shardA)+"index/")), "restic/orders/1", true},
		{"missing repository config", remove(ResticPrefix(shardA) + "config"), "b1", true},
		{"flipped byte in the repository config", flipAt(ResticPrefix(shardA)+"config", 20), "restic/orders/1", true},
		{"flipped byte in a pack", flipAt(pack, 4000), packName, false},
		{"flipped byte in the restic password's object", flipAt(passwordKey, -1), passwordKey, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			v := copyVault(t, good)
			c.damage(t, v)

			o := VerifyOptions{}
			if !c.quick {
				if fs := must(v.Verify(ctx, o)); Damaged(fs) {
					t.Logf("found without reading the data: %+v", fs[0])
				}
				o.ReadData = "100%"
			}

			fs, err := v.Verify(ctx, o)
			if err != nil {
				t.Fatal(err)
			}

			for _, f := range fs {
				if f.Severity == targets.Failed && strings.Contains(f.Subject+f.Expected+f.Detail, c.names) && strings.HasPrefix(f.Subject, "east: ") {
					return
				}
			}

			t.Fatalf("not found or not named (%s): %+v", c.names, fs)
		})
	}
}

// TestVerifySince skips what was verified before and still misses nothing that
// is gone.
func TestVerifySince(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	whole(t, Set{Vaults: []*Vault{v}})
	chunks := keysOf(t, v.store, TimelinePrefix(shardA, testTimeline))

	old := time.Now().Add(-time.Hour)
	for _, k := range keysOf(t, v.store, "") {
		if err := os.Chtimes(onDisk(v, k), old, old); err != nil {
			t.Fatal(err)
		}
	}

	since := VerifyOptions{Since: time.Now().Add(-time.Minute), Shards: []targets.ShardID{media}}
	if fs := must(v.Verify(ctx, since)); Damaged(fs) {
		t.Fatalf("%+v", fs)
	}
	object := firstKey(t, v, ObjectsPrefix(media))
	_ = os.Remove(onDisk(v, object))

	fs := must(v.Verify(ctx, since))
	if !Damaged(fs) || !strings.Contains(fs[0].Subject, object) {
		t.Fatalf("%+v", fs)
	}
	since.Shards = []targets.ShardID{shardA}

	flip(t, onDisk(v, chunks[0]), 300) // a new time: read again

	if fs := must(v.Verify(ctx, since)); !Damaged(fs) || !strings.Contains(fs[0].Subject, chunks[0]) {
		t.Fatalf("%+v", fs)
	}
}

func TestMirror(t *testing.T) {
	t.Parallel()

	ctx := context.Background()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			k := testKey(t)
			east, west := fileVault(t, "east", k), initVault(t, "west", b.loc("mirror"), k)
			a, cut := whole(t, Set{Vaults: []*Vault{east}})

			var wg sync.WaitGroup
			for range 2 { // at once
				wg.Go(func() {
					if _, err := Mirror(ctx, east, west, "", MirrorOptions{Progress: func(_, _ int64) {}}); err != nil {
						t.Error(err)
					}
				})
			}

			wg.Wait()

			st := must(Mirror(ctx, east, west, "", MirrorOptions{}))
			if st.Copied != 0 || st.Present < 20 {
				t.Fatalf("%+v", st)
			}

			want := keysOf(t, east.store, "")
			if got := keysOf(t, west.store, ""); len(got) != len(want) {
				t.Fatalf("%d keys, want %d\n%q\n%q", len(got), len(want), got, want)
			}

			if fs := must(west.Verify(ctx, VerifyOptions{ReadData: "100%"})); Damaged(fs) {
				t.Fatalf("%+v", fs)
			}

			out := filepath.Join(t.TempDir(), "out")
			if err := west.Shard(shardA).RestoreTree(ctx, a, out, false, nil); err != nil {
				t.Fatal(err)
			}

			if c := must(west.Cut(ctx, "shop", cut.ID)); c.ID != cut.ID {
				t.Fatal(c)
			}
			// Both go on separately and are merged.
			sha, _, err := west.Shard(media).PutObject(ctx, strings.NewReader("made in the west"))
			if err != nil {
				t.Fatal(err)
			}

			must(Mirror(ctx, west, east, ObjectsPrefix(media), MirrorOptions{}))

			r := must(east.Shard(media).Object(ctx, sha))
			if x := must(io.ReadAll(r)); string(x) != "made in the west" {
				t.Fatalf("%q", x)
			}

			r.Close()
		})
	}
}

// TestMirrorStopsDamage: damage is named and not copied, what needs it is held
// back, and the rest goes on.
func TestMirrorStopsDamage(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k := testKey(t)
	good := fileVault(t, "east", k)
	_, cut := whole(t, Set{Vaults: []*Vault{good}})
	chunk := keysOf(t, good.store, TimelinePrefix(shardA, testTimeline))[2]

	pack := largestPack(t, good)
	for _, key := range []string{chunk, pack} {
		east, west := copyVault(t, good), fileVault(t, "west", k)
		flip(t, onDisk(east, key), 700)
		_, err := Mirror(ctx, east, west, "", MirrorOptions{})
		wantCode(t, err, fail.Corrupt, key)

		if _, err := west.store.Stat(ctx, key); !fail.Is(err, fail.NotFound) {
			t.Fatalf("the damaged %s was copied: %v", key, err)
		}

		if cuts := must(west.Cuts(ctx, "shop")); len(cuts) != 0 {
			t.Fatal("the cut that needs the damaged object was copied")
		}

		if bases := must(west.Bases(ctx, shardA)); len(bases) != 0 {
			t.Fatal("the base of the damaged shard was copied")
		}

		if n := len(keysOf(t, west.store, ObjectsPrefix(media))); n != 5 {
			t.Fatalf("%d objects", n)
		}
		// With the source repaired, a repeat finishes.
		overwrite(t, onDisk(east, key), must(os.ReadFile(onDisk(good, key))))

		if _, err := Mirror(ctx, east, west, "", MirrorOptions{}); err != nil {
			t.Fatal(err)
		}

		if c := must(west.Cuts(ctx, "shop")); len(c) != 1 || c[0].ID != cut.ID {
			t.Fatal(c)
		}

		if fs := must(west.Verify(ctx, VerifyOptions{})); Damaged(fs) {
			t.Fatalf("%+v", fs)
		}
	}
}

// TestMirrorHoldsBackManifests: a vault that lacks an object gets no manifest.
func TestMirrorHoldsBackManifests(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	east, west := twoVaults(t)
	whole(t, Set{Vaults: []*Vault{east}})
	bad := keysOf(t, east.store, ObjectsPrefix(media))[2]
	flip(t, onDisk(east, bad), -3)
	_, err := Mirror(ctx, east, west, SnapshotsPrefix(media), MirrorOptions{})
	wantCode(t, err, fail.Corrupt, bad)

	if n, m := len(keysOf(t, west.store, ObjectsPrefix(media))), keysOf(t, west.store, ManifestsPrefix(media)); n != 4 || len(m) > 0 {
		t.Fatalf("%d objects, manifests %q", n, m)
	}
}

// TestMirrorOrder: at any moment of an interrupted mirror, whatever record is
// there has what it needs.
func TestMirrorOrder(t *testing.T) {
	t.Parallel()
	k := testKey(t)
	east := fileVault(t, "east", k)
	_, cut := whole(t, Set{Vaults: []*Vault{east}})
	west := fileVault(t, "west", k)

	real := west.store
	for n := 1; ; n += 3 {
		ctx, cancel := context.WithCancel(context.Background())
		west.store = &countdown{Store: real, left: n, stop: cancel}
		_, err := Mirror(ctx, east, west, "", MirrorOptions{Parallel: 3})

		cancel()
		west.store = real

		fs := must(west.Verify(context.Background(), VerifyOptions{Groups: []string{"shop"}, Shards: []targets.ShardID{shardA, media}}))
		if Damaged(fs) {
			t.Fatalf("after %d writes: %+v", n, fs)
		}

		if err == nil {
			break
		}
	}

	if c := must(west.Cuts(context.Background(), "shop")); len(c) != 1 || c[0].ID != cut.ID {
		t.Fatal(c)
	}
}

// countdown stops everything after some writes.
type countdown struct {
	Store
	mu   sync.Mutex
	left int
	stop func()
}

func (c *countdown) Put(ctx context.Context, key string, b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.left--; c.left < 0 {
		c.stop()
		return fail.New(fail.Unavailable, "vault: write", key, "", context.Canceled)
	}

	return c.Store.Put(ctx, key, b)
}

func TestRepair(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k := testKey(t)
	east, west := fileVault(t, "east", k), fileVault(t, "west", k)
	set := Set{Vaults: []*Vault{east, west}}
	whole(t, set)
	chunks := keysOf(t, east.store, TimelinePrefix(shardA, testTimeline))
	pack := largestPack(t, east)
	flip(t, onDisk(east, chunks[2]), 400)
	flip(t, onDisk(east, pack), 4000)
	flip(t, onDisk(east, descriptorKey), 10) // each vault has its own: no copy is one of it
	_ = os.Remove(onDisk(east, chunks[3]))
	flip(t, onDisk(west, chunks[2]), 500) // both damaged
	got, err := Repair(ctx, west, east)
	wantCode(t, err, fail.Corrupt, chunks[2])

	if len(got) != 1 || got[0] != pack {
		t.Fatalf("%q", got)
	}

	if _, err := os.Stat(onDisk(east, chunks[3])); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("what is missing may have been removed by retention: %v", err)
	}

	if _, err := os.Stat(onDisk(east, chunks[2])); err != nil {
		t.Fatal("what cannot be repaired must stay as it is")
	}

	flip(t, onDisk(west, chunks[2]), 500)

	if got := must(Repair(ctx, west, east)); len(got) != 1 || got[0] != chunks[2] {
		t.Fatalf("%q", got)
	}

	flip(t, onDisk(east, descriptorKey), 10)
	must(Mirror(ctx, west, east, "", MirrorOptions{}))

	if fs := must(east.Verify(ctx, VerifyOptions{ReadData: "100%"})); Damaged(fs) {
		t.Fatalf("%+v", fs)
	}
}

// TestBaseWithVaultDown: once a shard has its repository, a base needs only as
// many vaults as the policy asks for, and the other is brought up later.
func TestBaseWithVaultDown(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	east, west := twoVaults(t)
	set := Set{Vaults: []*Vault{east, west}, Durability: 1}
	real := west.store
	west.store = unreachable{real}
	_, err := set.Shard(shardA).SaveStream(ctx, "s", strings.NewReader("x"), nil)
	wantCode(t, err, fail.Unavailable, "first base")
	west.store = real

	saveBase(t, set, "b0", tree(t, someFiles))
	west.store = unreachable{real}

	saved, err := set.Shard(shardA).SaveStream(ctx, "s", strings.NewReader("x"), nil)
	if err != nil {
		t.Fatal(err)
	}

	a := testBase("b1", 16, saved)
	if n, err := set.SaveBase(ctx, a); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	_, err = Set{Vaults: set.Vaults}.Shard(shardA).SaveStream(ctx, "s", strings.NewReader("x"), nil)
	wantCode(t, err, fail.Unavailable, "west")
	west.store = real
	must(Mirror(ctx, east, west, "", MirrorOptions{}))

	r := must(west.Shard(shardA).OpenStream(ctx, must(west.Base(ctx, shardA, "b1"))))
	defer r.Close()

	if b := must(io.ReadAll(r)); string(b) != "x" {
		t.Fatalf("%q", b)
	}
}

type unreachable struct{ Store }

func (unreachable) down(key string) error {
	return fail.New(fail.Unavailable, "vault: reach", key, "", io.ErrUnexpectedEOF)
}
func (u unreachable) Put(_ context.Context, k string, _ []byte) error        { return u.down(k) }
func (u unreachable) PutFile(_ context.Context, k string, _ string) error    { return u.down(k) }
func (u unreachable) Get(_ context.Context, k string) (io.ReadCloser, error) { return nil, u.down(k) }
func (u unreachable) Stat(_ context.Context, k string) (Info, error)         { return Info{}, u.down(k) }
func (u unreachable) List(_ context.Context, p, _ string) iter.Seq2[Info, error] {
	return func(y func(Info, error) bool) { y(Info{}, u.down(p)) }
}
