package clock

import (
	"math/rand/v2"
	"testing"
)

// A clock that leaves out any one thing gives ranges that do not hold the instant.
func TestEachWideningIsNeeded(t *testing.T) {
	mutants := map[string]func(c *Clock, x Stamp) (Range, bool){
		"the drift": func(c *Clock, x Stamp) (Range, bool) {
			m := *c
			m.drift = 0

			return m.At(x)
		},
		"the grain": func(c *Clock, x Stamp) (Range, bool) {
			r, ok := c.At(x)
			return Range{r.Earliest + GrainNs, r.Latest - GrainNs}, ok
		},
		"the width of samples": func(c *Clock, x Stamp) (Range, bool) {
			m := *c
			m.spans = make([]span, len(c.spans))
			for i, s := range c.spans {
				s.a.T0, s.b.T0 = (s.a.T0+s.a.T1)/2, (s.b.T0+s.b.T1)/2
				s.a.T1, s.b.T1 = s.a.T0, s.b.T0
				m.spans[i] = s
			}

			return m.At(x)
		},
		"the hull of both samples": func(c *Clock, x Stamp) (Range, bool) { // what both have in common
			for _, s := range c.spans {
				if s.a.Stamp <= x && x <= s.b.Stamp && !s.stepped {
					return c.reckon(s.a, x).within(c.reckon(s.b, x))
				}
			}

			return Range{}, false
		},
		"what else a stamp can be": func(c *Clock, x Stamp) (Range, bool) { // the first span that fits
			for _, s := range c.spans {
				if s.a.Stamp <= x && x <= s.b.Stamp && !s.stepped {
					return c.in(&s, x)
				}
			}

			return Range{}, false
		},
		"that a step makes stamps unbounded": func(c *Clock, x Stamp) (Range, bool) {
			m := *c
			m.spans = nil
			m.furthest = nil
			for _, s := range c.spans {
				if !s.stepped {
					m.spans = append(m.spans, s)
					m.furthest = append(m.furthest, 1<<62)
				}
			}

			return m.At(x)
		},
	}

	for seed := uint64(0); seed < 20_000 && len(mutants) > 0; seed++ {
		rng := rand.New(rand.NewPCG(seed, 1))
		w, samples := draw(rng)

		c, err := New(samples, 0)
		if err != nil {
			t.Fatal(err)
		}

		for range 50 {
			at := anyTime(rng, samples)
			x := w.read(at)

			for name, find := range mutants {
				if r, ok := find(c, x); ok && (at < r.Earliest || at > r.Latest) {
					t.Logf("%s left out: seed %d", name, seed)
					delete(mutants, name)
				}
			}
		}
	}

	for name := range mutants {
		t.Errorf("nothing needs %s", name)
	}
}
