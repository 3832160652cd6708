package shop

import (
	"math"
	"slices"
	"time"

	"drctl/internal/lab/shop/judge"
	"drctl/targets"
)

// clocks is how well the wall clock of an observer and that of the customers are
// taken to agree: they are of one machine.
const clocks = 2 * time.Millisecond

// ClaimOf is what a cut says of itself, for the judge; nil for one that was taken with
// locks. The limit is how long a global transaction may be half done.
func ClaimOf(p Platform, cut targets.Cut, limit time.Duration) *judge.Claim {
	if cut.Proof == nil {
		return nil
	}

	of := cut.Proof
	c := &judge.Claim{Grade: judge.Grade(of.Grade), Span: judge.At(of.At, of.Gap+clocks), Limit: limit, Actions: map[judge.Doubtful]judge.Action{},
		Tagged: slices.Contains(of.Modes, targets.ModeTagged), TwoPhase: slices.Contains(of.Modes, targets.ModeTwoPhase), Gated: slices.Contains(of.Modes, targets.ModeGate)}

	c.Complete = complete(of)
	for _, b := range of.Broken {
		c.Broken = append(c.Broken, b.ID)
	}

	for _, s := range cut.Shards {
		i := slices.IndexFunc(p.Postgres, func(in targets.Instance) bool { return in.Shard == s.Shard })
		for _, d := range s.InDoubt {
			c.Actions[judge.Doubtful{Shard: i, GID: string(d.GID)}] = judge.Action(d.Action)
		}
	}

	return c
}

// complete is since when a cut says that it lists all that are broken; of more than a
// record holds the youngest are there.
func complete(of *targets.CutProof) int64 {
	if of.BrokenComplete.IsZero() {
		return math.MaxInt64
	}

	since := of.BrokenComplete
	if n := len(of.Broken); n > 0 && n < of.BrokenCount && of.Broken[n-1].Since.After(since) {
		since = of.Broken[n-1].Since
	}

	return since.Add(clocks).UnixNano()
}
