package clock

import (
	"cmp"
	"slices"
	"sort"

	"drctl/internal/fail"
)

// maxDrift is the largest drift that can be asked for.
const maxDrift = 100_000

// Clock finds the instants of a server's stamps. It is safe for concurrent use.
type Clock struct {
	drift    int64
	spans    []span  // sorted by from
	furthest []Stamp // furthest[i] is the largest to of spans[:i+1]
}

// span is the time between two neighbouring samples.
type span struct {
	a, b     Sample
	from, to Stamp // the stamps that can be of this time, both included
	stepped  bool
}

// Step is a step of a clock that was noticed: it happened in [After, Before].
type Step struct {
	After  Instant `json:"after"`
	Before Instant `json:"before"`
	// Least and Most bound by how much the clock went forward, in nanoseconds.
	Least int64 `json:"least_ns"`
	Most  int64 `json:"most_ns"`
}

// New makes a clock from samples in any order, all by one observer. Drift is in
// parts in a million, up to 100,000; 0 means Drift. It fails with invalid for a sample that
// cannot be.
func New(samples []Sample, drift int64) (*Clock, error) {
	if drift == 0 {
		drift = Drift
	}

	if drift < 0 || drift > maxDrift {
		return nil, fail.Newf(fail.Invalid, "clock", "", "a drift of %d parts in a million", drift)
	}
	c := &Clock{drift: drift}

	for _, s := range samples {
		if err := s.Check(); err != nil {
			return nil, fail.New(fail.Invalid, "clock", "", "", err)
		}
	}
	sorted := slices.Clone(samples)
	slices.SortStableFunc(sorted, func(a, b Sample) int {
		return cmp.Or(cmp.Compare(a.T0, b.T0), cmp.Compare(a.T1, b.T1))
	})

	kept := apart(sorted)
	c.spans = make([]span, 0, len(kept))
	c.furthest = make([]Stamp, 0, len(kept))

	for i := 1; i < len(kept); i++ {
		c.spans = append(c.spans, c.between(kept[i-1], kept[i]))
	}

	slices.SortStableFunc(c.spans, func(a, b span) int { return cmp.Compare(a.from, b.from) })

	for i, s := range c.spans {
		c.furthest = append(c.furthest, s.to)
		if i > 0 {
			c.furthest[i] = max(s.to, c.furthest[i-1])
		}
	}

	return c, nil
}

// At is the range in which a stamp was taken; ok is false where none is known:
// before the first and after the last sample, near a step that was noticed, and
// for a stamp that the clock never showed.
func (c *Clock) At(x Stamp) (r Range, ok bool) {
	last := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].from > x }) - 1
	for i := last; i >= 0 && c.furthest[i] >= x; i-- {
		s := &c.spans[i]
		if x > s.to {
			continue
		}

		if s.stepped {
			if c.mayBeOf(s, x) {
				return Range{}, false
			}

			continue
		}

		switch one, can := c.in(s, x); {
		case !can:
		case ok:
			r = r.hull(one)
		default:
			r, ok = one, true
		}
	}

	return r, ok
}

// Steps are the steps that were noticed, in order of time.
func (c *Clock) Steps() []Step {
	var steps []Step
	for _, s := range c.spans {
		if s.stepped {
			steps = append(steps, stepOf(s.a, s.b))
		}
	}

	slices.SortFunc(steps, func(a, b Step) int { return cmp.Compare(a.After, b.After) })

	return steps
}

// Relay writes samples that a far observer took in the instants of a near one.
// Via is the far observer's clock as the near one sampled it, its instants being
// the stamps. Samples that cannot be placed are left out.
func Relay(far []Sample, via *Clock) []Sample {
	var near []Sample
	for _, s := range far {
		sent, ok := via.At(Stamp(s.T0))
		answered, too := via.At(Stamp(s.T1))

		if ok && too {
			near = append(near, Sample{T0: sent.Earliest, T1: answered.Latest, Stamp: s.Stamp, Wall: s.Wall})
		}
	}

	return near
}

// mayBeOf reports whether a stamp can be of the time of a span: as reckoned from
// either sample, or because it lies between the two.
func (c *Clock) mayBeOf(s *span, x Stamp) bool {
	window := Range{s.a.T0, s.b.T1}
	_, byA := c.reckon(s.a, x).within(window)
	_, byB := c.reckon(s.b, x).within(window)

	return byA && x >= s.a.Stamp-GrainNs || byB && x <= s.b.Stamp+GrainNs || s.a.Stamp <= x && x <= s.b.Stamp
}

// in is when, within a span, a stamp can have been taken: as reckoned from the
// sample before it, from the one after it, or at any time between the two.
func (c *Clock) in(s *span, x Stamp) (Range, bool) {
	before, after := c.reckon(s.a, x), c.reckon(s.b, x)

	r := before
	switch {
	case x < s.a.Stamp: // only a clock that was stepped back shows it again
		r = after
	case x <= s.b.Stamp:
		r = before.hull(after)
	}

	return r.within(Range{s.a.T0, s.b.T1})
}

// reckon is when the clock shows x if it runs on, or back, from a sample with no step.
func (c *Clock) reckon(s Sample, x Stamp) Range {
	d := int64(x - s.Stamp)
	slack := c.slack(d) + GrainNs

	return Range{s.T0 + Instant(d-slack), s.T1 + Instant(d+slack)}
}

// slack is the drift over a length of the server's time, rounded up, in nanoseconds.
func (c *Clock) slack(d int64) int64 {
	if d < 0 {
		d = -d
	}

	return d/1e6*c.drift + (d%1e6*c.drift+1e6-1)/1e6
}

func (c *Clock) between(a, b Sample) span {
	// How far the clock can run while the observer's runs from a to b.
	length := int64(b.T1 - a.T0)
	far := Stamp(length + 2*GrainNs + length/(1e6-c.drift)*c.drift + c.drift)

	return span{a: a, b: b,
		from:    min(a.Stamp-GrainNs, b.Stamp-far),
		to:      max(b.Stamp+GrainNs, a.Stamp+far),
		stepped: !c.agree(a, b),
	}
}

// agree reports whether the clock can have come from one sample to the next
// without a step.
func (c *Clock) agree(a, b Sample) bool {
	if b.Stamp < a.Stamp {
		return false
	}
	_, ok := c.reckon(a, b.Stamp).within(Range{b.T0, b.T1})

	return ok
}

// apart leaves out samples so that no two overlap; of two that do, the wider one.
func apart(sorted []Sample) []Sample {
	kept := make([]Sample, 0, len(sorted))
	for _, s := range sorted {
		switch last := len(kept) - 1; {
		case last < 0 || s.T0 >= kept[last].T1:
			kept = append(kept, s)
		case s.width() < kept[last].width():
			kept[last] = s
		}
	}

	return kept
}
