package activities_test

import (
	"fmt"
	"testing"

	"drctl/activities"
	"drctl/internal/vault"
	"drctl/targets"
)

// Every Nth base reads every byte although retention removes bases meanwhile,
// and so does one that is read from another region's server than the last.
func TestEveryNthBaseIsFullUnderRetention(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	pol := policy(targets.Gate)
	pol.FullEvery = 3
	a := w.activities(resolver{w, pol})

	stop := w.follow(t, a)
	defer stop()
	shard := w.shards[0].Shard
	take := func(n int, region string) targets.Artifact {
		t.Helper()
		in := w.instances[shard]
		in.Region = region
		w.instances[shard] = in

		out, err := execute[activities.BaseOut](a, activities.TakeBaseName, activities.BaseIn{Shard: shard, ID: fmt.Sprintf("base-%d", n)}, nil)
		if err != nil {
			t.Fatal(err)
		}

		if out.Base.Method != "files" {
			t.Fatalf("method %s: it says nothing about full bases", out.Base.Method)
		}

		return out.Base
	}

	var got []bool
	for n := range 7 {
		region := "east"
		if n >= 5 {
			region = "west" // promoted
		}
		b := take(n, region)

		got = append(got, b.Full)
		if b.Full != (b.SinceFull == 0) {
			t.Errorf("base %d: full %v, %d since the last full one", n, b.Full, b.SinceFull)
		}
		// Retention keeps the newest alone.
		for _, v := range w.set.Vaults {
			bases, err := v.Bases(t.Context(), shard)
			if err != nil {
				t.Fatal(err)
			}

			for _, old := range bases {
				if old.ID != b.ID {
					if err := v.Store().Delete(t.Context(), vault.BaseRecordKey(shard, old.ID)); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}

	if want := []bool{true, false, false, true, false, true, false}; fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("full: %v, want %v", got, want)
	}
}
