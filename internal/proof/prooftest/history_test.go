package prooftest

import (
	"reflect"
	"testing"

	"drctl/internal/proof"
	"drctl/internal/proof/search"
)

// A seed is a history: what a test found once, it finds again.
func TestSeedIsAHistory(t *testing.T) {
	for seed := range uint64(20) {
		a, b := Run(seed, Hostile(seed)), Run(seed, Hostile(seed))
		if !reflect.DeepEqual(a.Look, b.Look) || !reflect.DeepEqual(a.ops, b.ops) {
			t.Fatalf("seed %d gives two histories", seed)
		}
	}
}

// The judge is no friend of the prover: it finds what is wrong with a cut that
// was moved, and nothing with the one that was granted.
func TestJudgeFindsWhatIsWrong(t *testing.T) {
	found := map[string]int{}
	for seed := range uint64(300) {
		h := Run(seed, Hostile(seed))

		res, err := search.Find(h.Look, h.Policy)
		if err != nil {
			t.Fatal(err)
		}

		for _, c := range res.Cuts {
			if wrong := h.Judge(&c); len(wrong) > 0 {
				t.Fatal(wrong)
			}
			c.Shards[0].Position = h.Look.Stretches[0].To

			for _, w := range h.Judge(&c) {
				found[w.Kind]++
			}
			c.Shards[0].Position = h.Look.Stretches[0].From

			for _, w := range h.Judge(&c) {
				found[w.Kind]++
			}
		}
	}

	for _, kind := range []string{"causal", "half", "late", "missing"} {
		if found[kind] == 0 {
			t.Errorf("nothing is %s: %v", kind, found)
		}
	}
}

// Histories have what they are made for.
func TestHistoriesAreRich(t *testing.T) {
	var ops, tagged, prepared, aborted, disordered, markers, earlier int
	for seed := range uint64(200) {
		h := Run(seed, Hostile(seed))
		ops += len(h.ops)

		for _, s := range h.Look.Stretches {
			earlier += len(s.Earlier)

			for i, r := range s.Records {
				tagged += len(r.Tags)
				if r.Kind == proof.Prepare {
					prepared++
				}

				if r.Kind == proof.AbortPrepared {
					aborted++
				}

				if i > 0 && r.Stamp < s.Records[i-1].Stamp {
					disordered++
				}
			}
		}

		for _, m := range h.Look.Masters {
			markers += len(m.Markers)
		}
	}

	for name, n := range map[string]int{"operations": ops, "tags": tagged, "prepared": prepared, "aborted": aborted,
		"stamps out of order": disordered, "markers": markers, "earlier records": earlier} {
		if n < 100 {
			t.Errorf("%s: only %d", name, n)
		}
	}
}
