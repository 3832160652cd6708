package search

import (
	"cmp"
	"slices"

	"drctl/internal/proof"
)

// maxObstacles bounds what is told of one grade.
const maxObstacles = 20

// blame counts obstacles.
type blame map[proof.Obstacle]int

func (b blame) add(o proof.Obstacle) { b[o]++ }

// obstacles are what was in the way of the grade, the most frequent first.
func (f *finder) obstacles() []proof.Obstacle {
	for _, s := range f.shards {
		if s.unknown > 0 {
			f.blame[proof.Obstacle{Why: proof.NoClockBound, Shard: s.Shard}] = s.unknown
		}
	}

	var all []proof.Obstacle
	for o, n := range f.blame {
		o.Grade, o.Count = f.grade, n
		all = append(all, o)
	}

	slices.SortFunc(all, func(a, b proof.Obstacle) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Why, b.Why), a.Shard.Compare(b.Shard), cmp.Compare(a.ID, b.ID))
	})

	return all[:min(len(all), maxObstacles)]
}

// late blames the source that was not quiet yet when the others were.
func (s *source) late() proof.Obstacle {
	switch {
	case s.shard != nil:
		return proof.Obstacle{Why: proof.NotTogether, Shard: s.shard.Shard}
	case s.master != nil:
		return proof.Obstacle{Why: proof.NotTogether, Shard: s.master.Shard}
	}

	return proof.Obstacle{Why: proof.NotHeld}
}

// empty blames a source that has no gap.
func (s *source) empty() proof.Obstacle {
	switch {
	case s.master != nil:
		return proof.Obstacle{Why: proof.NoMarker, Shard: s.master.Shard}
	case s.shard == nil:
		return proof.Obstacle{Why: proof.NotHeld}
	case s.shard.Reached == nil:
		return proof.Obstacle{Why: proof.BeginningUnknown, Shard: s.shard.Shard}
	}

	return proof.Obstacle{Why: proof.NeverQuiet, Shard: s.shard.Shard}
}
