package batches

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/internal/vault"
	"drctl/targets"
)

var (
	noon  = time.Now().UTC().Add(-time.Hour).Truncate(time.Second)
	order = targets.ShardID{Target: "orders", Shard: "0"}
)

// vaults makes vaults of one set in directories.
func vaults(t *testing.T, regions ...string) vault.Set {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	var set vault.Set

	for _, r := range regions {
		v, err := vault.Init(t.Context(), vault.Options{Region: r, Location: vault.Location{URL: "file://" + t.TempDir() + "/v"},
			Key: key, Set: "11111111-2222-3333-4444-555555555555"})
		if err != nil {
			t.Fatal(err)
		}
		set.Vaults = append(set.Vaults, v)
	}

	return set
}

// batch is one second of an observer that began some time after noon.
func batch(observer string, after time.Duration) observation.Batch {
	t0 := clock.Instant(after)
	one := observation.Observation{Timeline: "7310000000000000001-00000001", Flushed: 1000, Inserted: 1001,
		Sample: clock.Sample{T0: t0, T1: t0 + 1000, Stamp: clock.Stamp(noon.UnixNano()) + clock.Stamp(t0)}}

	return observation.Batch{Group: "shop", Observer: observer, Since: t0, Until: t0 + clock.Instant(time.Second),
		Began: noon.Add(after), Ended: noon.Add(after + time.Second),
		Shards: []observation.Seen{{Shard: order, Kind: targets.Postgres, Server: "s", Observations: []observation.Observation{one}}}}
}

func save(t *testing.T, set vault.Set, bs ...observation.Batch) {
	t.Helper()

	for _, b := range bs {
		if err := Save(t.Context(), set, b); err != nil {
			t.Fatal(err)
		}
	}
}

// began lists which batches were read: the observer and the seconds after noon.
func began(bs []observation.Batch) (out []string) {
	for _, b := range bs {
		out = append(out, b.Observer+" "+b.Began.Sub(noon).String())
	}

	return out
}

// A short batch that an observer began within a long one is read with it, however soon it ended: who
// proves a cut demands all of them.
func TestNoneInBetweenIsLeftOut(t *testing.T) {
	set := vaults(t, "east")
	long := batch("one", 0)
	long.Ended = noon.Add(5 * time.Second)
	all := []observation.Batch{batch("one", -3*time.Second), long, batch("one", time.Second), batch("two", 1200*time.Millisecond), batch("one", 4*time.Second)}
	save(t, set, all...)

	const want = "one 0s, one 1s, one 4s"

	got, damaged, err := Read(t.Context(), set.Vaults[0], "shop", noon.Add(3*time.Second), noon.Add(time.Minute))
	if s := strings.Join(began(got), ", "); s != want || err != nil || len(damaged) > 0 {
		t.Errorf("%s (want %s), %v, %v", s, want, damaged, err)
	}

	if s := strings.Join(began(Since(all, noon.Add(3*time.Second))), ", "); s != want {
		t.Errorf("of those that were read: %s (want %s)", s, want)
	}
}

func TestReadFindsWhatTouchesTheTime(t *testing.T) {
	set := vaults(t, "east", "west")
	other := batch("one", 10*time.Second)
	other.Group = "other"
	save(t, set, batch("one", 0), batch("one", 2*time.Second), batch("two", 2500*time.Millisecond), batch("one", 4*time.Second), other)
	save(t, set, batch("one", 2*time.Second)) // a repeat is no error

	long := batch("slow", -30*time.Second)
	long.Ended = long.Began.Add(observation.MaxTook)
	save(t, set, long)

	for _, v := range set.Vaults {
		for _, c := range []struct {
			since, until time.Duration
			want         string
		}{
			{2 * time.Second, 2 * time.Second, "slow -30s, one 2s"},
			{1500 * time.Millisecond, 2500 * time.Millisecond, "slow -30s, one 2s, two 2.5s"},
			{31 * time.Second, time.Hour, ""},
			{-time.Hour, time.Hour, "slow -30s, one 0s, one 2s, two 2.5s, one 4s"},
			{-time.Hour, -31 * time.Second, ""},
		} {
			got, damaged, err := Read(t.Context(), v, "shop", noon.Add(c.since), noon.Add(c.until))
			if s := strings.Join(began(got), ", "); s != c.want || err != nil || len(damaged) > 0 {
				t.Errorf("%s to %s: %s (want %s), %v, %v", c.since, c.until, s, c.want, damaged, err)
			}
		}

		newest, err := Newest(t.Context(), v, "shop")
		if err != nil || newest.Began != noon.Add(4*time.Second) {
			t.Errorf("newest: %v, %v", newest.Began, err)
		}

		if _, err := Newest(t.Context(), v, "unknown"); !fail.Is(err, fail.NotFound) {
			t.Errorf("newest of a group that nobody observed: %v", err)
		}
	}
}

func TestDifferentContentUnderOneNameIsRefused(t *testing.T) {
	set := vaults(t, "east")
	b := batch("one", 0)
	save(t, set, b)
	b.Queue = "elsewhere"

	if err := Save(t.Context(), set, b); !fail.Is(err, fail.Conflict) {
		t.Fatal(err)
	}
}

func TestBatchCountsOnceEnoughVaultsHoldIt(t *testing.T) {
	set := vaults(t, "east", "west")
	block(t, set.Vaults[1])

	if err := Save(t.Context(), set, batch("one", 0)); err == nil {
		t.Error("durable in both, although one refuses")
	}
	set.Durability = 1

	if err := Save(t.Context(), set, batch("one", 2*time.Second)); err != nil {
		t.Error(err)
	}

	errs, err := SaveEach(t.Context(), set, batch("one", 4*time.Second))
	if err != nil || len(errs) != 2 || errs[0] != nil || errs[1] == nil {
		t.Errorf("%v, %v", errs, err)
	}
}

// block puts a file where a vault would make the folder of the observations.
func block(t *testing.T, v *vault.Vault) {
	t.Helper()

	if err := os.WriteFile(file(v, "observations"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func file(v *vault.Vault, key string) string {
	return filepath.Join(strings.TrimPrefix(v.Store().URL(), "file://"), filepath.FromSlash(key))
}

// put stores content under a name, as whoever has the key can.
func put(t *testing.T, v *vault.Vault, name vault.ObservationName, content []byte) {
	t.Helper()

	if err := v.PutEncrypted(t.Context(), name.Key(), nil, content); err != nil {
		t.Fatal(err)
	}
}

func TestNothingOfAVaultIsBelieved(t *testing.T) {
	ctx := context.Background()

	for name, damage := range map[string]func(t *testing.T, v *vault.Vault){
		"cut short": func(t *testing.T, v *vault.Vault) {
			save(t, vault.Set{Vaults: []*vault.Vault{v}}, batch("bad", time.Second))

			if err := os.Truncate(file(v, nameOf(batch("bad", time.Second)).Key()), 300); err != nil {
				t.Fatal(err)
			}
		},
		"moved to another name": func(t *testing.T, v *vault.Vault) {
			at := file(v, nameOf(batch("bad", time.Second)).Key())
			b, err := os.ReadFile(file(v, nameOf(batch("one", 0)).Key()))

			if err := errorsOr(err, os.WriteFile(at, b, 0o600)); err != nil {
				t.Fatal(err)
			}
		},
		"another time": func(t *testing.T, v *vault.Vault) {
			content, _ := observation.Encode(batch("bad", 90*time.Second))
			put(t, v, nameOf(batch("bad", time.Second)), content)
		},
		"another observer": func(t *testing.T, v *vault.Vault) {
			content, _ := observation.Encode(batch("one", time.Second))
			put(t, v, nameOf(batch("bad", time.Second)), content)
		},
		"another group": func(t *testing.T, v *vault.Vault) {
			b := batch("bad", time.Second)
			b.Group = "other"
			content, _ := observation.Encode(b)
			put(t, v, nameOf(batch("bad", time.Second)), content)
		},
		"no batch": func(t *testing.T, v *vault.Vault) { put(t, v, nameOf(batch("bad", time.Second)), []byte("{}")) },
		"a later version": func(t *testing.T, v *vault.Vault) {
			content, _ := observation.Encode(batch("bad", time.Second))
			put(t, v, nameOf(batch("bad", time.Second)), []byte(strings.Replace(string(content), `"v":1`, `"v":9`, 1)))
		},
	} {
		t.Run(name, func(t *testing.T) {
			set := vaults(t, "east")
			v := set.Vaults[0]
			save(t, set, batch("one", 0), batch("one", 2*time.Second))

			fs, err := Verify(ctx, v, "shop", nil)
			if err != nil || vault.Damaged(fs) || len(fs) != 1 {
				t.Fatalf("before: %v, %v", fs, err)
			}

			damage(t, v)

			got, damaged, err := Read(ctx, v, "shop", noon, noon.Add(time.Minute))
			if err != nil || !slices.Equal(began(got), []string{"one 0s", "one 2s"}) || len(damaged) != 1 ||
				!strings.Contains(damaged[0].Error(), "-bad.zst.age") {
				t.Errorf("%v, %v, %v", began(got), damaged, err)
			}

			fs, err = Verify(ctx, v, "shop", nil)
			if err != nil || len(fs) != 1 || fs[0].Severity != targets.Failed || !strings.Contains(fs[0].Subject, "-bad.zst.age") {
				t.Errorf("verified: %+v, %v", fs, err)
			}
		})
	}
}

func errorsOr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}

	return nil
}

func TestNamesThatNoObserverWrites(t *testing.T) {
	set := vaults(t, "east")
	v := set.Vaults[0]
	save(t, set, batch("one", 0))

	future := batch("forged", 0)
	future.Began = time.Now().Add(24 * time.Hour)
	future.Ended = future.Began

	content, err := observation.Encode(future)
	if err != nil {
		t.Fatal(err)
	}

	put(t, v, nameOf(future), content)

	odd := file(v, vault.ObservationsPrefix("shop")+"zz.zst.age")
	if err := os.WriteFile(odd, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}

	if b, err := Newest(t.Context(), v, "shop"); err != nil || b.Observer != "one" {
		t.Errorf("newest: %+v, %v", b, err)
	}

	got, damaged, err := Read(t.Context(), v, "shop", noon, time.Now().Add(48*time.Hour))
	if err != nil || len(got) != 1 || len(damaged) != 1 {
		t.Errorf("%v, %v, %v", began(got), damaged, err)
	}

	fs, err := Verify(t.Context(), v, "shop", nil)
	if err != nil || len(fs) != 2 || !vault.Damaged(fs) {
		t.Errorf("%+v, %v", fs, err)
	}
}

// What is older than the time that is asked for is not looked at.
func TestReadingCostsWhatIsAskedFor(t *testing.T) {
	set := vaults(t, "east")
	v := set.Vaults[0]

	for i := range 50 {
		save(t, set, batch("one", time.Duration(i)*2*time.Minute-100*time.Minute))
	}

	for i := range 49 { // all but the last are damaged: reading one of them would show
		if err := os.Truncate(file(v, nameOf(batch("one", time.Duration(i)*2*time.Minute-100*time.Minute)).Key()), 10); err != nil {
			t.Fatal(err)
		}
	}

	got, damaged, err := Read(t.Context(), v, "shop", noon.Add(-2*time.Minute), noon)
	if err != nil || len(got) != 1 || len(damaged) != 0 {
		t.Errorf("%v, %v, %v", began(got), damaged, err)
	}

	if b, err := Newest(t.Context(), v, "shop"); err != nil || b.Began != noon.Add(-2*time.Minute) {
		t.Errorf("newest: %v, %v", b.Began, err)
	}
}

// Batches that an older version stored without folders are read, in order, among the others.
func TestBatchesWithoutFolders(t *testing.T) {
	set := vaults(t, "east")
	v := set.Vaults[0]
	const folder = int64(vault.ObservationFolder / time.Millisecond)
	begun := time.UnixMilli(noon.UnixMilli() / folder * folder).Add(time.Minute).Sub(noon) // all in one folder

	for i := range 6 {
		b := batch("one", begun+time.Duration(i)*time.Minute)
		if i >= 3 {
			save(t, set, b)
			continue
		}

		content, err := observation.Encode(b)
		if err != nil {
			t.Fatal(err)
		}
		name := nameOf(b)
		name.Flat = true
		put(t, v, name, content)
	}

	for i := range 6 {
		at := noon.Add(begun + time.Duration(i)*time.Minute)

		got, damaged, err := Read(t.Context(), v, "shop", at, at.Add(time.Second))
		if err != nil || len(damaged) > 0 || len(got) != 1 || !got[0].Began.Equal(at) {
			t.Errorf("batch %d: %v, %v, %v", i, began(got), damaged, err)
		}
	}

	all, _, err := Read(t.Context(), v, "shop", noon.Add(-time.Hour), noon.Add(time.Hour))
	if err != nil || len(all) != 6 || !slices.IsSortedFunc(all, func(a, b observation.Batch) int { return a.Began.Compare(b.Began) }) {
		t.Errorf("all: %v, %v", began(all), err)
	}

	if fs, err := Verify(t.Context(), v, "shop", nil); err != nil || vault.Damaged(fs) {
		t.Errorf("verified: %+v, %v", fs, err)
	}
}

// A listing of a directory reads the names of few batches, and not of all that are kept.
func TestAFolderHoldsFewBatches(t *testing.T) {
	set := vaults(t, "east")
	v := set.Vaults[0]

	for i := range 10 {
		save(t, set, batch("one", -time.Duration(i)*vault.ObservationFolder))
	}
	root := file(v, vault.ObservationsPrefix("shop"))

	if folders, err := os.ReadDir(root); err != nil || len(folders) != 10 {
		t.Fatalf("%d folders of 10 batches that are far apart, %v", len(folders), err)
	}

	// What is emptied goes.
	if err := v.Store().Delete(t.Context(), nameOf(batch("one", 0)).Key()); err != nil {
		t.Fatal(err)
	}

	if folders, err := os.ReadDir(root); err != nil || len(folders) != 9 {
		t.Errorf("%d folders are left of 9 batches, %v", len(folders), err)
	}

	save(t, set, batch("one", 0))
}

func TestMirrorAndRepairKeepObservations(t *testing.T) {
	set := vaults(t, "east", "west")
	east, west := set.Vaults[0], set.Vaults[1]
	save(t, vault.Set{Vaults: []*vault.Vault{east}}, batch("one", 0), batch("two", 0))

	if _, err := vault.Mirror(t.Context(), east, west, "", vault.MirrorOptions{}); err != nil {
		t.Fatal(err)
	}

	if err := os.Truncate(file(west, nameOf(batch("two", 0)).Key()), 10); err != nil {
		t.Fatal(err)
	}

	if done, err := vault.Repair(t.Context(), east, west); err != nil || len(done) != 1 {
		t.Fatal(done, err)
	}

	got, damaged, err := Read(t.Context(), west, "shop", noon, noon)
	if err != nil || !slices.Equal(began(got), []string{"one 0s", "two 0s"}) || len(damaged) > 0 {
		t.Errorf("%v, %v, %v", began(got), damaged, err)
	}
}
