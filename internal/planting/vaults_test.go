package planting

import (
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

func newVaults(t *testing.T, regions ...string) vault.Set {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	out := vault.Set{Durability: 1}
	id := ""

	for _, r := range regions {
		v, err := vault.Init(t.Context(), vault.Options{Region: r, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), r)}, Key: key, Set: id})
		if err != nil {
			t.Fatal(err)
		}
		id = v.SetID()
		out.Vaults = append(out.Vaults, v)
	}

	return out
}

// What another host may have planted, or another drill has planted, keeps a fault from being planted, in either order.
func TestTheVaultsTellOfOthers(t *testing.T) {
	mine := Fault{ID: "run-0", Drill: "d", RunID: "run", Group: "shop", Host: "a", Intended: time.Now().UTC(), Until: time.Now().Add(time.Hour).UTC()}

	for _, c := range []struct {
		name   string
		change func(*Fault)
		free   bool
	}{
		{"my own intent", func(*Fault) {}, true},
		{"of another host", func(f *Fault) { f.Host = "b" }, false},
		{"of another host, gone", func(f *Fault) { f.Host, f.Removed = "b", time.Now().UTC() }, false},
		{"of another drill", func(f *Fault) { f.ID, f.RunID, f.Drill = "other-0", "other", "e" }, false},
		{"of another drill, gone", func(f *Fault) { f.ID, f.RunID, f.Removed = "other-0", "other", time.Now().UTC() }, true},
		{"of another drill, its time is up", func(f *Fault) { f.ID, f.RunID, f.Until = "other-0", "other", time.Now().Add(-time.Second).UTC() }, true},
		{"another one of this drill", func(f *Fault) { f.ID = "run-1" }, true},
		{"of another group", func(f *Fault) { f.ID, f.RunID, f.Group = "other-0", "other", "other" }, true},
	} {
		set := newVaults(t, "east", "west")
		theirs := mine
		c.change(&theirs)

		for _, f := range []Fault{theirs, mine} {
			if err := Tell(t.Context(), set, f); err != nil {
				t.Fatal(err)
			}
		}

		if err := Alone(t.Context(), set, mine); (err == nil) != c.free || err != nil && !fail.Is(err, fail.Conflict) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}
