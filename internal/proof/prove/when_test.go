package prove

import (
	"math/rand/v2"
	"testing"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/prooftest"
	"drctl/targets"
)

// The checker and the search find the same range for every stamp, or both none,
// also near steps, although they share no code.
func TestRangesAgree(t *testing.T) {
	for seed := range uint64(1500) {
		p := prooftest.Hostile(seed)
		p.Steps, p.Ops = 0.5, 0
		rng := rand.New(rand.NewPCG(seed, 30))

		for _, s := range prooftest.Run(seed, p).Look.Stretches {
			is, err := clock.New(s.Samples, 0)
			if err != nil {
				t.Fatal(err)
			}
			c := checker{policy: &proof.Policy{}, samples: map[targets.ShardID][]clock.Sample{s.Shard: inOrder(s.Samples)}}

			for range 200 {
				near := s.Samples[rng.IntN(len(s.Samples))].Stamp
				x := near + clock.Stamp((rng.Float64()*2-1)*float64([]int64{3000, int64(p.SampleEvery) * 2}[rng.IntN(2)]))

				a, aOK := is.At(x)
				if b, bOK := c.when(&s, x); aOK != bOK || aOK && a != b {
					t.Fatalf("seed %d, stamp %d: %v %v and %v %v", seed, x, a, aOK, b, bOK)
				}
			}
		}
	}
}
