package timelines

import "fmt"

// Point is a place in a cluster's log: so far on a timeline, and how the timeline
// came to be.
type Point struct {
	System   string
	Timeline uint32
	Offset   uint64
	History  History
}

// Relation is how one place stands to another.
type Relation uint8

// The relations of a place to another.
const (
	// Same is the very place.
	Same Relation = iota + 1
	// Behind lacks log that the other has, and has none that the other lacks.
	Behind
	// Ahead has log that the other lacks, and lacks none.
	Ahead
	// Diverged has log that the other lacks, and lacks some of it.
	Diverged
)

// String names the relation.
func (r Relation) String() string {
	switch r {
	case Same:
		return "the same"
	case Behind:
		return "behind"
	case Ahead:
		return "ahead"
	case Diverged:
		return "diverged"
	}

	return fmt.Sprintf("relation %d", uint8(r))
}

// Relate tells how a stands to b, and up to where they hold the same log. It goes
// by ancestry: the number of a timeline says nothing, and one number may have been
// given twice. Places of two clusters have diverged at 0.
func Relate(a, b Point) (Relation, uint64) {
	if a.System != b.System {
		return Diverged, 0
	}

	fork := min(a.common(b), a.Offset, b.Offset)
	switch {
	case fork == a.Offset && fork == b.Offset:
		return Same, fork
	case fork == a.Offset:
		return Behind, fork
	case fork == b.Offset:
		return Ahead, fork
	}

	return Diverged, fork
}

// common is up to where the two ways are one, however far each has been gone.
func (p Point) common(o Point) uint64 {
	a, b := p.way(), o.way()
	for i := range min(len(a), len(b)) {
		switch {
		case a[i].Timeline != b[i].Timeline:
			if i == 0 {
				return 0
			}

			return a[i-1].End
		case a[i].End != b[i].End:
			return min(a[i].End, b[i].End)
		}
	}

	if n := min(len(a), len(b)); n > 0 {
		return a[n-1].End
	}

	return 0
}

// way is the history with the timeline itself, which nobody has left yet.
func (p Point) way() History {
	return append(p.History[:len(p.History):len(p.History)], Switch{p.Timeline, ^uint64(0)})
}
