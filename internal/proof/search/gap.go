package search

import (
	"math"

	"drctl/internal/proof"
	"drctl/internal/proof/clock"
)

// The ends of time: an instant that is not known lies between them.
const (
	never  = clock.Instant(math.MinInt64 / 4)
	always = clock.Instant(math.MaxInt64 / 4)
)

// gap is a time in which one source is quiet. For a shard, next is the index of
// the first record that is not in the cut.
type gap struct {
	proof.Span
	next int
}

// open reports whether an instant lies strictly within.
func open(s proof.Span) bool { return s.To-s.From >= 2 }

// shard is a stretch with what the search knows of it.
type shard struct {
	*proof.Stretch
	clock *clock.Clock
	gaps  []gap
	based // what an earlier cut left of it
	// When commits had no range, for the reason if nothing is found.
	unknown  int
	overlaps int
}

// when is when a record was stamped; the ends of time if that is not known.
func (s *shard) when(r *proof.Record) clock.Range {
	if w, ok := s.clock.At(r.Stamp); ok {
		return w
	}

	return clock.Range{Earliest: never, Latest: always}
}

// findGaps finds the times in which the shard is quiet: conditions 1 to 4. They
// are in order and do not overlap, because the last instant of those in the cut
// only rises, and a commit's earliest instant is not after its latest.
func (s *shard) findGaps(c conditions) {
	latest := never // of all commits that are in the cut

	if !c.skip(beginning) {
		if s.Reached == nil {
			return
		}
		latest = *s.Reached
	}

	s.gaps = make([]gap, 0, len(s.Records)+1)
	for i := range s.Records {
		r := &s.Records[i]
		if !commits(r) {
			continue
		}

		w := s.when(r)
		if w.Earliest == never {
			s.unknown++
		}

		next := w.Earliest
		if c.skip(stampedAfter) {
			next = w.Latest
		}

		s.add(latest, next, i)

		switch {
		case c.skip(allBefore):
			latest = w.Latest
		case c.skip(beforeT):
			latest = max(latest, w.Earliest)
		default:
			latest = max(latest, w.Latest)
		}
	}

	switch {
	case s.Ended != nil:
		s.add(latest, *s.Ended, len(s.Records))
	case c.skip(endSeen):
		s.add(latest, always, len(s.Records))
	}
}

func (s *shard) add(from, to clock.Instant, next int) {
	g := proof.Span{From: from, To: to}
	if !open(g) {
		s.overlaps++
		return
	}
	s.gaps = append(s.gaps, gap{g, next})
}

// place is the position for a gap: the start of the first commit that is not in
// the cut. It is not the end of the last one that is: a PREPARE may lie between.
func (s *shard) place(next int) uint64 {
	if next < len(s.Records) {
		return s.Records[next].Start
	}

	return s.To
}

// commits reports whether a record makes effects visible.
func commits(r *proof.Record) bool { return r.Kind == proof.Commit || r.Kind == proof.CommitPrepared }
