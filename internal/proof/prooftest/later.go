package prooftest

import (
	"math/rand/v2"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// asked is what the observer was told of the end of a log.
type asked struct {
	sent, truly, answered clock.Instant
	end                   uint64
}

// askOften plans questions for the ends of all logs, for looks that come later. It draws its own
// chances: a history is the same with it.
func (s *sim) askOften(seed uint64) [][]asked {
	rng := rand.New(rand.NewPCG(seed, 13))
	all := make([][]asked, len(s.servers))
	every := s.p.Length / 40

	for i, v := range s.servers {
		for at := clock.Instant(0); at < s.p.Length; at += every {
			late := func() clock.Instant { return 1 + clock.Instant(rng.ExpFloat64()*float64(s.p.Net)) }
			there, back := late(), late()

			s.after(at-s.now, func() {
				one := asked{sent: s.now}
				s.after(there, func() {
					one.truly, one.end = s.now, v.end
					s.after(back, func() {
						one.answered = s.now
						all[i] = append(all[i], one)
					})
				})
			})
		}
	}

	return all
}

// Later is a look that goes on from a cut of the history's, and knows no more of what was
// before it than it must; nil where nobody asked at the right time. The chances are those of a seed.
func (h *History) Later(seed uint64, cut *proof.Cut) *History {
	rng := rand.New(rand.NewPCG(seed, 14))
	later := *h
	later.known, later.Look.Stretches = nil, nil
	later.Look.Base = &proof.Base{Kept: cut.Kept}

	if later.first = h.begun(cut); cut.Complete != nil {
		later.complete = *cut.Complete
	}

	for i, v := range h.servers {
		at := cut.Shards[i].Position

		w := h.viewFrom(rng, i, at)
		if w == nil {
			return nil
		}

		later.known = append(later.known, w.known)
		later.Look.Stretches = append(later.Look.Stretches, h.sim.stretch(i, v, w))
		later.Look.Base.Places = append(later.Look.Base.Places, proof.Place{Shard: shardName(i), Timeline: "t", Position: at})
	}

	return &later
}

// viewFrom chooses the questions that a look rests on which begins behind a place.
func (h *History) viewFrom(rng *rand.Rand, i int, at uint64) *view {
	var known, behind []asked
	for _, a := range h.asked[i] {
		switch {
		case a.end > at:
			behind = append(behind, a)
		case !h.preparedAt(i, a.truly):
			known = append(known, a)
		}
	}

	if len(known) == 0 || len(behind) < 2 {
		return nil
	}

	k := known[max(0, len(known)-1-rng.IntN(3))]
	from := behind[rng.IntN(min(4, len(behind)-1))]
	to := behind[len(behind)-1]

	return &view{known: k.truly, knownTo: k.end, knownAt: &k.answered, reached: from.truly, from: from.end, reachedAt: from.answered,
		ended: to.truly, to: to.end, endedAt: &to.sent}
}

// preparedAt reports whether anything was prepared on a shard at an instant: a real
// server tells of it as of an open transaction.
func (h *History) preparedAt(i int, t clock.Instant) bool {
	open := map[string]bool{}
	for _, l := range h.servers[i].log {
		if l.placed > t {
			break
		}

		switch l.Kind {
		case proof.Prepare:
			open[l.GID] = true
		case proof.CommitPrepared, proof.AbortPrepared:
			delete(open, l.GID)
		}
	}

	return len(open) > 0
}
