package prove

import (
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// The limits of what is computed here: beyond them nothing is known.
const (
	farthest    = 100 * 24 * 3600 * 1e9 // between a sample and a stamp, in nanoseconds
	mostSamples = 1 << 20
)

// when is the hull of all instants at which the server's clock can have shown a
// stamp, by every two neighbouring samples; false if none are known.
func (c *checker) when(s *proof.Stretch, x clock.Stamp) (is clock.Range, known bool) {
	drift := c.policy.Drift
	if drift == 0 {
		drift = 500
	}
	samples := c.samples[s.Shard]

	for i := 1; i < len(samples); i++ {
		a, b := samples[i-1], samples[i]
		window := clock.Range{Earliest: a.T0, Latest: b.T1}
		byA, byB := from(a, x, drift), from(b, x, drift)
		couldA := x >= a.Stamp-1000 && meet(byA, window)
		couldB := x <= b.Stamp+1000 && meet(byB, window)

		if !couldA && !couldB && !(a.Stamp <= x && x <= b.Stamp) {
			continue
		}

		if b.Stamp < a.Stamp || !meet(from(a, b.Stamp, drift), clock.Range{Earliest: b.T0, Latest: b.T1}) {
			return is, false // the clock was stepped then
		}

		can := byA
		if x < a.Stamp {
			can = byB
		} else if x <= b.Stamp {
			can.Earliest, can.Latest = min(byA.Earliest, byB.Earliest), max(byA.Latest, byB.Latest)
		}

		if !meet(can, window) {
			continue
		}
		can.Earliest, can.Latest = max(can.Earliest, window.Earliest), min(can.Latest, window.Latest)

		if known {
			can.Earliest, can.Latest = min(can.Earliest, is.Earliest), max(can.Latest, is.Latest)
		}
		is, known = can, true
	}

	return is, known
}

// from is when the clock showed x if it ran on from a sample: its drift either
// way, and a microsecond because stamps are cut off.
func from(s clock.Sample, x clock.Stamp, drift int64) clock.Range {
	d := int64(x - s.Stamp)
	far := max(d, -d)

	if far > farthest {
		return clock.Range{Earliest: 1, Latest: 0}
	}
	slack := (far*drift+999_999)/1_000_000 + 1000

	return clock.Range{Earliest: s.T0 + clock.Instant(d-slack), Latest: s.T1 + clock.Instant(d+slack)}
}

func meet(a, b clock.Range) bool {
	return a.Earliest <= a.Latest && max(a.Earliest, b.Earliest) <= min(a.Latest, b.Latest)
}

// inOrder sorts samples by time and, of those that overlap, keeps the narrowest.
func inOrder(samples []clock.Sample) (kept []clock.Sample) {
	if len(samples) > mostSamples {
		return nil
	}

	sorted := append([]clock.Sample{}, samples...)
	for i := range sorted { // they come in order, but for a few
		for j := i; j > 0 && later(sorted[j-1], sorted[j]); j-- {
			sorted[j-1], sorted[j] = sorted[j], sorted[j-1]
		}
	}

	for _, s := range sorted {
		n := len(kept)
		if n == 0 || s.T0 >= kept[n-1].T1 {
			kept = append(kept, s)
		} else if s.T1-s.T0 < kept[n-1].T1-kept[n-1].T0 {
			kept[n-1] = s
		}
	}

	return kept
}

func later(a, b clock.Sample) bool { return a.T0 > b.T0 || a.T0 == b.T0 && a.T1 > b.T1 }
