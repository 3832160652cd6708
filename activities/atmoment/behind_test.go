package atmoment

import (
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/targets"
)

// twoVaults is a platform of which the vaults of two regions answer.
type twoVaults struct {
	platform.OnlyVault
	set vault.Set
}

func (p twoVaults) Set(context.Context, string, string) (vault.Set, error) { return p.set, nil }

// A moment is the newest that one vault knows. Where that vault is behind, whoever decides is told.
func TestAVaultThatIsBehindIsSaid(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	set := vault.Set{Durability: 1}
	for _, region := range []string{"west", "east"} {
		v, err := vault.Init(t.Context(), vault.Options{Region: region, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), region)}, Key: key, Set: "11111111-2222-3333-4444-555555555555"})
		if err != nil {
			t.Fatal(err)
		}
		set.Vaults = append(set.Vaults, v)
	}

	p := Place{Platform: twoVaults{set: set}}
	now := time.Now().UTC().Truncate(time.Millisecond)

	saw := func(i int, end time.Time) {
		t.Helper()

		if err := batches.Save(t.Context(), vault.Set{Vaults: set.Vaults[i : i+1], Durability: 1}, observation.Batch{Group: "shop", Observer: "one", Began: end.Add(-time.Second), Ended: end}); err != nil {
			t.Fatal(err)
		}
	}
	saw(0, now.Add(-time.Hour))
	saw(1, now.Add(-time.Hour))

	says := func(asked time.Time, want ...string) {
		t.Helper()

		got := p.behind(t.Context(), set.Vaults[0], "shop", asked, now)
		if len(got) != len(want) {
			t.Fatalf("%q, want %q", got, want)
		}

		for i, w := range want {
			if !strings.Contains(got[i], w) {
				t.Errorf("%q, want %q", got, want)
			}
		}
	}
	says(now.Add(-time.Second))
	says(now.Add(-time.Hour), "the vault of west has seen nothing")
	saw(1, now)
	says(now.Add(-time.Hour), "the vault of west has seen nothing", "the vault of east has seen the group until")
	says(now.Add(-time.Second))
}

// What was half done at the moment is told, and only a proven moment speaks for what is not listed.
func TestWhatAMomentSays(t *testing.T) {
	var none *Bound

	b := Bound{Cut: "c", Grade: targets.Proven, BrokenCount: 3, Broken: []targets.BrokenGlobal{{ID: "x", Done: 1, Want: 2}}}
	if got := b.HalfDone(); len(none.HalfDone()) > 0 || len(got) != 2 || !strings.Contains(got[0], `"x" was half done`) || !strings.Contains(got[1], "2 more") {
		t.Errorf("%q", got)
	}

	for grade, want := range map[targets.Grade]bool{targets.Proven: true, targets.Ordered: false, targets.Locked: false} {
		b.Grade = grade

		out, err := json.Marshal(b)
		if err != nil || Whole(map[string]json.RawMessage{"bind": out, "routes": json.RawMessage(`{}`)}) != want {
			t.Errorf("%s: %v", grade, err)
		}
	}
}
