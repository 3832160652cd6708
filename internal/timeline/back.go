package timeline

import (
	"iter"

	"drctl/targets"
)

// Step is one timeline on the way back from a position.
type Step struct {
	// Timeline is what is known of it: of an unknown one only the ID.
	Timeline
	Known bool
	// UpTo is the last offset of it that is on the way: the position itself, then
	// where each timeline was left.
	UpTo uint64
}

// Index finds timelines by their ids.
type Index map[string]Timeline

// NewIndex makes an index.
func NewIndex(ls []Timeline) Index {
	x := make(Index, len(ls))
	for _, l := range ls {
		x[l.ID] = l
	}

	return x
}

func (x Index) find(id string) (Timeline, bool) {
	l, ok := x[id]
	return l, ok
}

// Back walks from a position through the timelines that lead to it, the
// position's own first; see the function Back.
func (x Index) Back(from targets.Position) iter.Seq[Step] { return Back(from, x.find) }

// Back walks from a position through the timelines that lead to it, the
// position's own first. It asks find for each once, just before it yields it.
// The walk ends behind a timeline without a parent, behind one that find does
// not know, and where a timeline would come a second time: when the last step is
// known and has a parent, the records form a loop.
func Back(from targets.Position, find func(id string) (Timeline, bool)) iter.Seq[Step] {
	return func(yield func(Step) bool) {
		seen := map[string]bool{}
		for id, upTo := from.Timeline, from.Offset; !seen[id]; {
			seen[id] = true

			l, known := find(id)
			if !known {
				l = Timeline{ID: id}
			}

			if !yield(Step{Timeline: l, Known: known, UpTo: upTo}) || l.Parent.Timeline == "" {
				return
			}
			id, upTo = l.Parent.Timeline, min(upTo, l.Parent.Offset)
		}
	}
}
