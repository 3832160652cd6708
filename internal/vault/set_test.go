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
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"drctl/internal/fail"
	"drctl/internal/spool"
	"drctl/targets"
)

// faulty is a store whose writes fail or hang.
type faulty struct {
	Store
	put  error
	hang bool
}

func (f *faulty) Put(ctx context.Context, key string, b []byte) error {
	if f.hang {
		<-ctx.Done()
		return fail.New(fail.Unavailable, "vault: write", key, "", ctx.Err())
	}

	if f.put != nil {
		return f.put
	}

	return f.Store.Put(ctx, key, b)
}

func (f *faulty) PutFile(ctx context.Context, key, file string) error {
	if f.put != nil {
		return f.put
	}

	return f.Store.PutFile(ctx, key, file)
}

func TestSetDurability(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	east, west := twoVaults(t)
	down := &faulty{Store: west.store, put: fail.New(fail.Unavailable, "vault: write", "west", "", errors.New("connection refused"))}
	both, one := Set{Vaults: []*Vault{east, west}}, Set{Vaults: []*Vault{east, west}, Durability: 1}

	if n, err := both.PutEncrypted(ctx, "t/a", nil, []byte("x")); n != 2 || err != nil {
		t.Fatal(n, err)
	}

	if !bytes.Equal(must(get(ctx, east.store, "t/a")), must(get(ctx, west.store, "t/a"))) {
		t.Fatal("encrypted twice")
	}

	if n, err := both.PutEncrypted(ctx, "t/a", nil, []byte("x")); n != 2 || err != nil { // encrypted anew, the same content
		t.Fatal(n, err)
	}
	_, err := both.PutEncrypted(ctx, "t/a", nil, []byte("y"))
	wantCode(t, err, fail.Conflict, "t/a")

	west.store = down

	n, err := both.PutEncrypted(ctx, "t/b", nil, []byte("x"))
	if n != 1 {
		t.Fatal(n)
	}

	wantCode(t, err, fail.Unavailable, "west", "1 of the 2")

	if n, err := one.PutEncrypted(ctx, "t/c", nil, []byte("x")); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	west.store = &faulty{Store: down.Store, hang: true}

	start := time.Now()
	if n, err := one.PutEncrypted(ctx, "t/d", nil, []byte("x")); n != 1 || err != nil || time.Since(start) > time.Minute {
		t.Fatal(n, err, time.Since(start))
	}

	wantCode(t, second(Set{}.PutEncrypted(ctx, "t/x", nil, nil)), fail.Invalid)
	wantCode(t, second(Set{Vaults: []*Vault{east, fileVault(t, "other", testKey(t))}}.PutEncrypted(ctx, "t/x", nil, nil)), fail.Conflict, "different sets")
}

func second[T any](_ T, err error) error { return err }

func TestRecords(t *testing.T) {
	ctx := context.Background()
	east, west := twoVaults(t)
	set := Set{Vaults: []*Vault{east, west}, Durability: 1}

	var want []string
	for i := range 20 {
		at := time.Date(2026, 1, 2, 3, 4, i, 0, time.UTC)

		c := targets.Cut{ID: targets.IDTime(at) + "-00ab", Group: "shop", QuiescedAt: at, SealedAt: at}
		if i%2 == 1 {
			c.SealedIn = []string{"west"}
		}

		want = append(want, c.ID)
		if _, err := set.SaveCut(ctx, c); err != nil {
			t.Fatal(err)
		}

		wantCode(t, second(Set{Vaults: set.Vaults}.SaveCut(ctx, targets.Cut{ID: "x", Group: "shop", SealedAt: at, SealedIn: []string{"west"}})), fail.Invalid, "1 of the 2")
	}
	_, err := set.SaveCut(ctx, targets.Cut{ID: "x", Group: "shop"})
	wantCode(t, err, fail.Invalid, "sealed")

	if got := must(east.Cuts(ctx, "shop")); len(got) != 10 {
		t.Fatal(len(got))
	}

	got := must(west.Cuts(ctx, "shop"))
	for i := range got {
		if got[i].ID != want[i] {
			t.Fatal("order")
		}
	}

	if g := must(west.Groups(ctx)); len(g) != 1 || g[0] != "shop" {
		t.Fatal(g)
	}

	if c := must(west.Cut(ctx, "shop", want[3])); c.ID != want[3] {
		t.Fatal(c)
	}
	// A damaged record and one copied over another do not hide the others.
	flip(t, onDisk(west, CutKey("shop", want[5])), -3)
	overwrite(t, onDisk(west, CutKey("shop", want[7])), must(os.ReadFile(onDisk(west, CutKey("shop", want[8])))))
	got, err = west.Cuts(ctx, "shop")
	wantCode(t, err, fail.Corrupt, want[5], want[7])

	if len(got) != 18 {
		t.Fatalf("%d good cuts", len(got))
	}

	if _, err := set.SaveReport(ctx, "drill", "r1", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}

	var rep map[string]int
	if err := west.Report(ctx, "drill", "r1", &rep); err != nil || rep["a"] != 1 {
		t.Fatal(err, rep)
	}

	if ids := must(west.Reports(ctx, "drill")); len(ids) != 1 || ids[0] != "r1" {
		t.Fatal(ids)
	}
}

// plain refuses what is not UTF-8, as a server may.
type plain struct{ Store }

func (p plain) List(ctx context.Context, prefix, after string) iter.Seq2[Info, error] {
	if !utf8.ValidString(after) {
		return func(yield func(Info, error) bool) {
			yield(Info{}, fail.Newf(fail.Invalid, "vault: list", prefix, "start-after %q is not UTF-8", after))
		}
	}

	return p.Store.List(ctx, prefix, after)
}

func TestFolders(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))
	v.store = plain{v.store}

	want := []string{"shop", "shop-a", "shop.b", "shop0", "shop00", "shopA", "zoo"}
	for _, g := range want {
		for _, id := range []string{"a", "z"} {
			if err := v.PutEncrypted(ctx, CutKey(g, id), nil, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	got := must(v.Groups(ctx))
	slices.Sort(got)

	if !slices.Equal(got, want) {
		t.Fatalf("%q", got)
	}
}

// TestShareCuts: a vault that missed records gets them, when it holds what they need.
func TestShareCuts(t *testing.T) {
	ctx := context.Background()
	k := testKey(t)
	set := Set{Vaults: []*Vault{fileVault(t, "east", k), fileVault(t, "west", k), fileVault(t, "south", k)}, Durability: 1}
	base := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

	name := func(i int) string {
		return targets.IDTime(base.Add(time.Duration(i)*time.Hour)) + "-00ab"
	}
	for i, in := range [][]string{{"east"}, {"east"}, {"west"}, {"east", "south"}, {"east", "west", "south"}} {
		at := base.Add(time.Duration(i) * time.Hour)
		if _, err := set.SaveCut(ctx, targets.Cut{ID: name(i), Group: "shop", QuiescedAt: at, SealedAt: at, SealedIn: in}); err != nil {
			t.Fatal(err)
		}
	}
	holds := func(_ context.Context, v *Vault, c targets.Cut) (bool, error) {
		return v.Region() != "south" || c.ID != name(2), nil
	}

	n, err := set.ShareCuts(ctx, "shop", base.Add(time.Hour), holds)
	if err != nil || n != 4 { // 1 in west and south, 2 in east, 3 in west
		t.Fatal(n, err)
	}

	for region, want := range map[string][]int{"east": {0, 1, 2, 3, 4}, "west": {1, 2, 3, 4}, "south": {1, 3, 4}} {
		for _, v := range set.Vaults {
			if v.Region() != region {
				continue
			}

			var got []string
			for _, c := range must(v.Cuts(ctx, "shop")) {
				got = append(got, c.ID)
			}

			var ids []string
			for _, i := range want {
				ids = append(ids, name(i))
			}

			if strings.Join(got, " ") != strings.Join(ids, " ") {
				t.Errorf("%s has %q", region, got)
			}
		}
	}

	if n, err := set.ShareCuts(ctx, "shop", base, func(context.Context, *Vault, targets.Cut) (bool, error) { return false, nil }); n != 0 || err != nil {
		t.Fatal(n, err)
	}
}

func TestObjects(t *testing.T) {
	t.Parallel()

	ctx := context.Background()
	for _, b := range backends(t) {
		t.Run(b.name, func(t *testing.T) {
			k := testKey(t)
			east, west := initVault(t, "east", b.loc("o-east"), k), initVault(t, "west", b.loc("o-west"), k)
			sv := Set{Vaults: []*Vault{east, west}}.Shard(media)

			var shas []string
			for i, n := range []int{0, 10, 100000, spool.Limit + 5, 20 << 20} {
				content := noise(n)

				sha, size, err := sv.PutObject(ctx, bytes.NewReader(content))
				if err != nil || size != int64(n) {
					t.Fatal(i, err)
				}

				shas = append(shas, sha)
				if s2, _, err := sv.PutObject(ctx, bytes.NewReader(content)); err != nil || s2 != sha {
					t.Fatal("again", err)
				}

				for _, v := range []*Vault{east, west} {
					r := must(v.Shard(media).Object(ctx, sha))

					got, err := io.ReadAll(r)
					if err != nil || !bytes.Equal(got, content) {
						t.Fatal(v, err)
					}

					r.Close()
				}
			}

			if n := len(keysOf(t, west.store, ObjectsPrefix(media))); n != len(shas) {
				t.Fatalf("%d objects", n)
			}

			for range 30 { // past the point where folders are listed
				for _, s := range shas {
					if !must(sv.HasObject(ctx, s)) || must(sv.HasObject(ctx, strings.Repeat("0", 60)+s[:4])) {
						t.Fatal("HasObject")
					}
				}
			}

			sha, _, err := sv.PutObject(ctx, strings.NewReader("late"))
			if err != nil || !must(sv.HasObject(ctx, sha)) {
				t.Fatal("an object put after its folder was listed", err)
			}

			if left := must(filepath.Glob(east.opt.TempDir + "/*")); len(left) != 0 {
				t.Fatalf("left: %q", left)
			}

			testManifests(t, sv)
		})
	}
}

// TestLaggingVault: a manifest is only where every object is that it names. A
// vault that could not be written goes without, and the next snapshot brings it up.
func TestLaggingVault(t *testing.T) {
	t.Parallel()
	ctx := context.Background()
	k := testKey(t)
	set := Set{Vaults: []*Vault{fileVault(t, "east", k), fileVault(t, "west", k), fileVault(t, "south", k)}, Durability: 2}
	south := set.Vaults[2]
	var manifest strings.Builder
	var shas []string
	put := func(sv *ShardVault, content []byte) {
		t.Helper()

		sha, _, err := sv.PutObject(ctx, bytes.NewReader(content))
		if err != nil {
			t.Fatal(err)
		}
		shas = append(shas, sha)
		fmt.Fprintf(&manifest, "{\"key\":\"k%09d\",\"sha256\":%q}\n", manifest.Len(), sha)
	}
	holders := func(sha string) (in []string) {
		for _, v := range set.Vaults {
			if _, err := v.Shard(media).Manifest(ctx, sha); err == nil {
				in = append(in, v.Region())
			}
		}

		return in
	}
	disk := south.store
	first := set.Shard(media)
	put(first, []byte("before the fault"))

	south.store = &faulty{Store: disk, put: fail.New(fail.Unavailable, "vault: write", "south", "", errors.New("no space left on device"))}
	for i := range 100 {
		put(first, noise(10+i))
	}

	put(first, noise(spool.Limit+1))
	south.store = disk // healed too late for this snapshot

	put(first, []byte("after the fault"))

	sha := must(first.PutManifest(ctx, time.Now(), strings.NewReader(manifest.String())))
	if in := holders(sha); strings.Join(in, ",") != "east,west" {
		t.Fatalf("the manifest is in %v, south lacks objects", in)
	}

	// Still unwritable at the next, which finds that out by itself.
	south.store = &faulty{Store: disk, put: fail.New(fail.Unavailable, "vault: write", "south", "", errors.New("no space left on device"))}

	second := set.Shard(media)
	for _, sha := range shas {
		if !must(second.HasObject(ctx, sha)) {
			t.Fatal("two vaults are enough")
		}
	}

	put(second, []byte("second"))

	sha = must(second.PutManifest(ctx, time.Now(), strings.NewReader(manifest.String())))
	if in := holders(sha); strings.Join(in, ",") != "east,west" {
		t.Fatalf("the second manifest is in %v", in)
	}

	// Healed: brought up without the source. What east has damaged is read again.
	south.store = disk

	flip(t, onDisk(set.Vaults[0], ObjectKey(media, shas[50])), -3)
	third := set.Shard(media)

	r := must(third.LastManifest(ctx))
	if b := must(io.ReadAll(r)); string(b) != manifest.String() {
		t.Fatal("not the newest manifest")
	}

	for i, sha := range shas {
		if ok := must(third.HasObject(ctx, sha)); ok == (i == 50) {
			t.Fatal(i, ok)
		}
	}

	if _, _, err := third.PutObject(ctx, bytes.NewReader(noise(10+49))); err != nil {
		t.Fatal(err)
	}

	sha = must(third.PutManifest(ctx, time.Now(), strings.NewReader(manifest.String())))
	if in := holders(sha); len(in) != 3 {
		t.Fatalf("the third manifest is in %v", in)
	}

	if fs := must(south.Verify(ctx, VerifyOptions{})); Damaged(fs) {
		t.Fatalf("%+v", fs)
	}

	for _, sha := range shas {
		r := must(south.Shard(media).Object(ctx, sha))
		if _, err := io.Copy(io.Discard, r); err != nil {
			t.Fatal(err)
		}

		r.Close()
	}

	// A vault that the policy needs is never gone without.
	set.Durability = 3
	south.store = &faulty{Store: disk, put: fail.New(fail.Unavailable, "vault: write", "south", "", errors.New("no space left on device"))}
	fourth := set.Shard(media)
	_, _, err := fourth.PutObject(ctx, strings.NewReader("fourth"))
	wantCode(t, err, fail.Unavailable, "2 of the 3")
	south.store = disk

	if _, _, err := fourth.PutObject(ctx, strings.NewReader("fourth")); err != nil {
		t.Fatal(err)
	}
}

func testManifests(t *testing.T, sv *ShardVault) {
	ctx := context.Background()
	if r, err := sv.LastManifest(ctx); r != nil || err != nil {
		t.Fatal(r, err)
	}
	now := time.Now().Add(-100 * time.Hour)

	sv.Vault().opt.Now = func() time.Time { return now }
	defer func() { sv.Vault().opt.Now = time.Now }()

	var shas []string
	for _, m := range []string{"one\n", "two\n", "two\n", "three\n"} {
		now = now.Add(time.Minute)
		shas = append(shas, must(sv.PutManifest(ctx, time.Now(), strings.NewReader(m))))
	}
	now = time.Now()

	if n := len(keysOf(t, sv.Vault().store, ManifestsPrefix(media))); n != 3 {
		t.Fatalf("%d manifests", n)
	}

	r := must(sv.LastManifest(ctx))
	defer r.Close()

	if b := must(io.ReadAll(r)); string(b) != "three\n" {
		t.Fatalf("%q", b)
	}

	r2 := must(sv.Manifest(ctx, shas[0]))
	defer r2.Close()

	if b := must(io.ReadAll(r2)); string(b) != "one\n" {
		t.Fatalf("%q", b)
	}
	_, err := sv.Manifest(ctx, strings.Repeat("0", 64))
	wantCode(t, err, fail.NotFound, "no manifest")
}

// TestForgedContent: an encrypted object of the right key whose content does not
// have the hash of its name.
func TestForgedContent(t *testing.T) {
	ctx := context.Background()
	v := fileVault(t, "east", testKey(t))

	sha := strings.Repeat("ab", 32)
	if err := v.PutEncrypted(ctx, ObjectKey(media, sha), nil, []byte("forged")); err != nil {
		t.Fatal(err)
	}
	r := must(v.Shard(media).Object(ctx, sha))
	_, err := io.ReadAll(r)
	wantCode(t, err, fail.Corrupt, sha)
}
