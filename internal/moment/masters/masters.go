package masters

import (
	"slices"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// MayMove are the masters that were marked once, while they went on, when all others stood still: of no
// other is there a cut without its pause. To search with each of many would take as many searches.
func MayMove(still, moving []proof.Master) (all []int) {
	after := make([][]proof.Span, len(still)+1) // what those from one on have in common
	after[len(still)] = []proof.Span{{From: -clock.Instant(1 << 61), To: 1 << 61}}

	for i, m := range slices.Backward(still) {
		after[i] = common(after[i+1], spans(m))
	}

	before := after[len(still)]
	for i, m := range still {
		others := common(before, after[i+1])

		if slices.ContainsFunc(moving[i].Markers, func(k proof.Marker) bool {
			return slices.ContainsFunc(others, func(s proof.Span) bool { return s.From <= k.From && k.To <= s.To })
		}) {
			all = append(all, i)
		}

		before = common(before, spans(m))
	}

	return all
}

func spans(m proof.Master) []proof.Span {
	out := make([]proof.Span, len(m.Markers))
	for i, k := range m.Markers {
		out[i] = k.Span
	}

	return out
}

// common is what two lists of times, each in order, have in common.
func common(a, b []proof.Span) (out []proof.Span) {
	for len(a) > 0 && len(b) > 0 {
		if s := (proof.Span{From: max(a[0].From, b[0].From), To: min(a[0].To, b[0].To)}); s.From <= s.To {
			out = append(out, s)
		}

		if a[0].To < b[0].To {
			a = a[1:]
		} else {
			b = b[1:]
		}
	}

	return out
}
