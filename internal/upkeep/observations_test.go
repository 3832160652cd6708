package upkeep

import (
	"strings"
	"testing"
	"time"

	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/vault"
)

// Observations go with what could be proven with them: those that lie more than a
// grace before the oldest base or cut that is kept. Another group's stay.
func TestOldObservationsGo(t *testing.T) {
	v, _, base, cuts := holeVault(t, vault.ChunkName{From: 100, To: 300})
	base("b2", 300) // both began about an hour ago

	set := vault.Set{Vaults: []*vault.Vault{v}}
	now := time.Now()
	save := func(group string, ago time.Duration) {
		t.Helper()

		at := now.Add(-ago)
		if err := batches.Save(t.Context(), set, observation.Batch{Group: group, Observer: "one", Began: at, Ended: at.Add(time.Second)}); err != nil {
			t.Fatal(err)
		}
	}
	kept := func(group string) (ages []string) {
		t.Helper()

		bs, damaged, err := batches.Read(t.Context(), v, group, now.Add(-1000*time.Hour), now)
		if err != nil || len(damaged) > 0 {
			t.Fatal(damaged, err)
		}

		for _, b := range bs {
			ages = append(ages, now.Sub(b.Began).Round(time.Hour).String())
		}

		return ages
	}

	for _, ago := range []time.Duration{200 * time.Hour, 27 * time.Hour, 24 * time.Hour, time.Hour, 0} {
		save("shop", ago)
	}

	save("other", 200*time.Hour)

	g := platform.Group{Name: "shop"}
	g.Policy.Retention = vault.RetentionPolicy{KeepCuts: time.Hour, KeepBases: 2}

	all := "200h0m0s 27h0m0s 24h0m0s 1h0m0s 0s"
	if out, err := Retain(t.Context(), v, g, now); err != nil || out.Observations != 0 || strings.Join(kept("shop"), " ") != all {
		t.Fatalf("of a group without a cut: %d went, %s left, %v", out.Observations, kept("shop"), err)
	}

	if _, err := set.SaveCut(t.Context(), cuts[0]); err != nil {
		t.Fatal(err)
	}

	if out, err := WouldRetain(t.Context(), v, g, now); err != nil || out.Observations != 2 || strings.Join(kept("shop"), " ") != all {
		t.Fatalf("a look: %d would go, %s left, %v", out.Observations, kept("shop"), err)
	}

	out, err := Retain(t.Context(), v, g, now)
	if err != nil || out.Observations != 2 || strings.Join(kept("shop"), " ") != "24h0m0s 1h0m0s 0s" {
		t.Errorf("%d went, %s left, %v", out.Observations, kept("shop"), err)
	}

	if out.Report == "" {
		t.Error("no report of what went")
	}

	if got := kept("other"); len(got) != 1 {
		t.Errorf("another group's: %s", got)
	}
}
