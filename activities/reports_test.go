package activities_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/targets"
)

// without is a platform one of whose vaults is out of reach.
type without struct {
	resolver
	region string
}

func (p without) Vault(ctx context.Context, region string) (*vault.Vault, error) {
	if region == p.region {
		return nil, fail.Newf(fail.Unavailable, "open the vault of "+region, "", "connection refused")
	}

	return p.resolver.Vault(ctx, region)
}

func (p without) Set(context.Context, string, string) (vault.Set, error) {
	return vault.Set{}, fail.Newf(fail.Unavailable, "open the vaults", "", "the policy asks for more vaults than can be reached")
}

// What a check found, and a cut that was abandoned, is in every vault that can
// be reached: the one that cannot may be the reason.
func TestReportsOfWhatWentWrong(t *testing.T) {
	w := newWorld(t, 1)
	p := resolver{w, policy(targets.Gate)}
	a := w.activities(p)

	stop := w.follow(t, a)
	defer stop()

	w.bases(t, a, "one")
	cut := w.cuts(t, a, 1, 0)[0]
	west := w.set.Vaults[1]

	check := func() activities.CheckOut {
		t.Helper()

		out, err := execute[activities.CheckOut](a, activities.CheckVaultName, activities.CheckIn{Region: "west", Group: group, ReadData: "1/1"}, nil)
		if err != nil {
			t.Fatal(err)
		}

		for _, v := range w.set.Vaults {
			checks, err := upkeep.CheckHistory(t.Context(), []*vault.Vault{v}, group, "west")
			if kept := checks.Newest; err != nil || !kept.Started.Equal(out.Started) || kept.Failed != out.Failed || len(kept.Findings) != len(out.Findings) {
				t.Errorf("the vault of %s: %+v, %v", v.Region(), kept, err)
			}

			if checks, err := upkeep.CheckHistory(t.Context(), []*vault.Vault{v}, group, "east"); err != nil || !checks.Newest.Started.IsZero() {
				t.Errorf("a check of the other vault: %+v, %v", checks, err)
			}
		}

		return out
	}
	if out := check(); out.Failed != 0 {
		t.Fatalf("%+v", out.Findings)
	}
	// Progress is in bytes read, with the name of what takes long.
	g, err := p.Group(group)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex

	most := map[string]int64{}
	if _, err := upkeep.CheckVault(t.Context(), west, g, "1/1", func(phase string, done, _ int64) {
		mu.Lock()
		defer mu.Unlock()
		most[phase] = max(most[phase], done)
	}); err != nil {
		t.Fatal(err)
	}

	for phase, bytes := range map[string]int64{"verify": 1000, "restic check of orders/0": 0, "stream of orders/0": 0} {
		if n, ok := most[phase]; !ok || n < bytes {
			t.Errorf("progress: %v", most)
		}
	}
	// A part at a time, one after the other, and whatever else was read between.
	for _, want := range []string{"2/3", "3/3", "1/1", "1/3", "2/3"} {
		configured := "2/3"
		if want == "1/1" {
			configured = want
		}

		out, err := execute[activities.CheckOut](a, activities.CheckVaultName, activities.CheckIn{Region: "west", Group: group, ReadData: configured}, nil)
		if err != nil || out.ReadData != want || out.Failed != 0 {
			t.Fatalf("read %s, want %s: %+v %v", out.ReadData, want, out, err)
		}
	}
	key := vault.BaseFileKey(w.shards[0].Shard, "one-orders-0", "backup_label")
	damage(t, west.Store(), key)

	if out := check(); out.Failed == 0 || !strings.Contains(out.String(), "vault of west") {
		t.Fatalf("%+v", out)
	}

	lost := cut
	lost.ID, lost.SealedIn = "20990101T000000.000Z-dead", nil

	alone := w.activities(without{p, "east"})
	for range 2 { // a repeat is no error
		if _, err := execute[any](alone, activities.AbandonCutName, activities.CutIn{Cut: lost, Reason: "the stream lags"}, nil); err != nil {
			t.Fatal(err)
		}
	}

	if xs, err := inventory.Abandoned(t.Context(), west, group, cut.ID); err != nil || len(xs) != 1 || xs[0].Cut.ID != lost.ID || xs[0].Reason != "the stream lags" {
		t.Errorf("%+v, %v", xs, err)
	}

	if xs, err := inventory.Abandoned(t.Context(), west, group, lost.ID); err != nil || len(xs) != 0 {
		t.Errorf("after the last: %+v, %v", xs, err)
	}
}

// damage flips a byte of a stored object.
func damage(t *testing.T, s vault.Store, key string) {
	t.Helper()

	r, err := s.Get(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	_, err = b.ReadFrom(r)
	_ = r.Close()

	if err == nil {
		b.Bytes()[b.Len()/2] ^= 1
		err = s.Delete(t.Context(), key)
	}

	if err == nil {
		err = s.Put(t.Context(), key, b.Bytes())
	}

	if err != nil {
		t.Fatal(err)
	}
}
