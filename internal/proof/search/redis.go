package search

import (
	"iter"
	"sort"

	"drctl/internal/proof"
)

// loose reports whether markers are taken without the conditions on them, as
// only tests do.
func (f *finder) loose() bool { return f.skip(markerIn) || f.skip(onePause) }

// tooManyUnpaused reports whether two masters were marked without a pause: a write
// before the one marker may depend on one behind the other (condition 11).
func (f *finder) tooManyUnpaused() bool {
	n := 0
	for i := range f.look.Masters {
		if !f.look.Masters[i].Paused {
			n++
		}
	}

	return n > 1 && !f.loose()
}

// markersIn yields the choices of markers for a gap, with the part of it that
// goes with each. A master that was paused is a source of the merge: its marker
// is chosen already. For one that was not, the gap has to cover the whole span
// of the marker (condition 10).
func (f *finder) markersIn(g proof.Span) iter.Seq2[[]int, proof.Span] {
	return func(yield func([]int, proof.Span) bool) {
		if f.loose() {
			if chosen, ok := f.anyMarkers(g); ok {
				yield(chosen, g)
			}

			return
		}

		for i := range f.look.Masters {
			if m := &f.look.Masters[i]; !m.Paused {
				f.markersOf(i, m, g, yield)
				return
			}
		}

		yield(nil, g)
	}
}

func (f *finder) markersOf(i int, m *proof.Master, g proof.Span, yield func([]int, proof.Span) bool) {
	for j := firstAfter(m, g); j < len(m.Markers) && m.Markers[j].From < g.To; j++ {
		k := m.Markers[j]
		if k.To >= g.To {
			continue
		}
		chosen := make([]int, len(f.look.Masters))
		chosen[i] = j

		if !yield(chosen, proof.Span{From: k.From - 1, To: k.To + 1}) {
			return
		}
	}
}

// firstAfter is the first marker that was sent within or after a span.
func firstAfter(m *proof.Master, g proof.Span) int {
	return sort.Search(len(m.Markers), func(j int) bool { return m.Markers[j].From > g.From })
}

// anyMarkers chooses without looking: the next marker of every master, within
// the gap or (without condition 10) not.
func (f *finder) anyMarkers(g proof.Span) (chosen []int, ok bool) {
	for i := range f.look.Masters {
		m := &f.look.Masters[i]

		j := firstAfter(m, g)
		if j == len(m.Markers) || !f.skip(markerIn) && m.Markers[j].To >= g.To {
			return nil, false
		}
		chosen = append(chosen, j)
	}

	return chosen, true
}
