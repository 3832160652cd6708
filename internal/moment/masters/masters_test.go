package masters

import (
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// A master is tried without its pause where that can give a cut, and nowhere else.
func TestMayMove(t *testing.T) {
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		some := func(paused bool) (m proof.Master) {
			m.Paused = paused

			at := clock.Instant(0)
			for range rng.IntN(5) {
				at += clock.Instant(1 + rng.IntN(10))
				k := proof.Marker{Span: proof.Span{From: at, To: at + clock.Instant(rng.IntN(12))}}
				m.Markers, at = append(m.Markers, k), k.To
			}

			return m
		}

		var still, moving []proof.Master
		for range 1 + rng.IntN(4) {
			still, moving = append(still, some(true)), append(moving, some(false))
		}

		var want []int
		for i := range still {
			if slices.ContainsFunc(moving[i].Markers, func(k proof.Marker) bool {
				for j, m := range still {
					if j != i && !slices.ContainsFunc(m.Markers, func(s proof.Marker) bool { return s.From <= k.From && k.To <= s.To }) {
						return false
					}
				}

				return true
			}) {
				want = append(want, i)
			}
		}

		if got := MayMove(still, moving); !reflect.DeepEqual(got, want) {
			t.Fatalf("seed %d: %v, want %v of %+v and %+v", seed, got, want, still, moving)
		}
	}
}
