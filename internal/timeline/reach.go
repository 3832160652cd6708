package timeline

import "slices"

// Reach tracks how far ranges that come in any order reach without a gap: to End.
type Reach struct {
	End   uint64
	ahead []Gap // beyond End, unordered
}

// Add adds the range [from, to).
func (r *Reach) Add(from, to uint64) {
	if to <= from || to <= r.End {
		return
	}

	r.ahead = append(r.ahead, Gap{From: from, To: to})
	for moved := true; moved; {
		moved = false
		r.ahead = slices.DeleteFunc(r.ahead, func(g Gap) bool {
			if g.From > r.End {
				return false
			}

			if g.To > r.End {
				r.End = g.To
				moved = true
			}

			return true
		})
	}
}
