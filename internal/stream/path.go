package stream

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Timeline is one unbroken run of offsets as a vault (or several) hold it.
type Timeline struct {
	ID     string
	Kind   targets.Kind
	Offset uint64           // where it begins; unknown (0) without Origin
	Parent targets.Position // where it left another timeline; zero when it left none
	Began  time.Time        // when the archiver first saw it
	// Origin is false when the vault has chunks of the timeline but no origin:
	// its beginning and its parent are unknown.
	Origin  bool
	Chunks  []Chunk // sorted by From
	Holes   []Gap   // declared: bytes that the server had lost before they were archived
	History []byte  // the file kept with it, or nil
	// Damage says what of it could not be read and was passed over; the rest is
	// here. Origin is false when the origin is among it.
	Damage []error

	cutOff uint64 // of an Outline: what begins before it was not looked at
}

// Tip is the end of the farthest chunk, or the timeline's beginning.
func (l Timeline) Tip() uint64 {
	tip := l.Offset
	for _, c := range l.Chunks {
		tip = max(tip, c.To)
	}
	return tip
}

// part is a piece of a gap: of a declared hole, or not.
type part struct {
	Gap
	declared bool
}

// split tells which parts of a gap the archive itself declares: by the records
// of holes, and by an origin behind the end of its parent.
func (l Timeline) split(g Gap) []part {
	holes := slices.Clone(l.Holes)
	if l.Origin && l.Parent.Timeline != "" && l.Offset > l.Parent.Offset {
		holes = append(holes, Gap{From: l.Parent.Offset, To: l.Offset})
	}
	slices.SortFunc(holes, func(a, b Gap) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })
	var out []part
	at := g.From
	for _, h := range holes {
		from, to := max(h.From, at), min(h.To, g.To)
		if from >= to {
			continue
		}
		if from > at {
			out = append(out, part{Gap{at, from}, false})
		}
		out = append(out, part{Gap{from, to}, true})
		at = to
	}
	if at < g.To {
		out = append(out, part{Gap{at, g.To}, false})
	}
	return out
}

// lastSeen is when anything of the timeline was last written.
func (l Timeline) lastSeen() time.Time {
	t := l.Began
	for _, c := range l.Chunks {
		if c.Closed.After(t) {
			t = c.Closed
		}
	}
	return t
}

// Newest returns the timeline that the shard is on: the one written last; of
// two equally new ones the descendant. ok is false when there is none.
func Newest(timelines []Timeline) (l Timeline, ok bool) {
	for _, c := range timelines {
		if !ok {
			l, ok = c, true
			continue
		}
		switch cmp := c.lastSeen().Compare(l.lastSeen()); {
		case cmp > 0, cmp == 0 && c.Parent.Timeline == l.ID:
			l = c
		}
	}
	return l, ok
}

// Path finds the spans of stream that lead from a base to a point, oldest
// first, walking from the point's timeline through its parents to the base's.
// It fails with not-found, naming "timeline bytes [a,b)", when a chunk on the
// way is missing, with not-found when the base is not on the way to the point
// (another branch), and with invalid when the point is before the base. A
// base exactly at the point needs no stream: its path is empty.
func Path(timelines []Timeline, base, point targets.Position) ([]targets.Span, error) {
	const op = "stream: path"
	if base.Timeline == point.Timeline && base.Offset == point.Offset {
		return nil, nil
	}
	spans, err := walk(timelines, base, point)
	if err != nil {
		return nil, err
	}
	byID := index(timelines)
	var missing []string
	for _, s := range spans {
		_, gaps := Cover(byID[s.Timeline].Chunks, s.From, s.To)
		for _, g := range gaps {
			missing = append(missing, s.Timeline+" bytes "+g.String())
		}
	}
	if len(missing) > 0 {
		return nil, fail.New(fail.NotFound, op, strings.Join(missing, ", "),
			"look in the other region's vault, or choose a base after the gap or a point before it", errorf("no chunk holds these bytes"))
	}
	return spans, nil
}

func index(timelines []Timeline) map[string]Timeline {
	m := make(map[string]Timeline, len(timelines))
	for _, l := range timelines {
		m[l.ID] = l
	}
	return m
}

// walk finds the spans without looking at the chunks.
func walk(timelines []Timeline, base, point targets.Position) ([]targets.Span, error) {
	return walkOver(timelines, base, point, false)
}

// walkOver is walk, and with over goes on where a timeline was archived only from
// a place behind its parent's end: its span begins at that end.
func walkOver(timelines []Timeline, base, point targets.Position, over bool) ([]targets.Span, error) {
	const op = "stream: path"
	byID := index(timelines)
	var spans []targets.Span
	at := point
	for range len(timelines) + 1 { // a chain longer than that is a loop
		if at.Timeline == base.Timeline {
			if at.Offset < base.Offset {
				if at.Timeline == point.Timeline {
					return nil, fail.Newf(fail.Invalid, op, point.Timeline, "the point at %d is before the base at %d", point.Offset, base.Offset)
				}
				return nil, fail.New(fail.NotFound, op, point.Timeline,
					"choose a base taken before the branches parted",
					errorf("the base at %s %d is after the place (%d) where the point's timeline left it", base.Timeline, base.Offset, at.Offset))
			}
			if at.Offset > base.Offset {
				spans = append(spans, targets.Span{Timeline: at.Timeline, From: base.Offset, To: at.Offset})
			}
			slices.Reverse(spans)
			return spans, nil
		}
		l, ok := byID[at.Timeline]
		if !ok {
			return nil, fail.New(fail.NotFound, op, at.Timeline, "the stream of this timeline was never archived in this vault", errorf("unknown timeline"))
		}
		if !l.Origin || l.Parent.Timeline == "" {
			return nil, fail.New(fail.NotFound, op, point.Timeline,
				"choose a base of the same timeline", errorf("no way from the base's timeline %s: timeline %s has no known parent", base.Timeline, l.ID))
		}
		if at.Offset < l.Offset {
			return nil, fail.Newf(fail.Invalid, op, l.ID, "the position %d is before the timeline's beginning %d", at.Offset, l.Offset)
		}
		begins := l.Offset
		if l.Offset > l.Parent.Offset {
			begins = l.Parent.Offset
		}
		if begins < l.Offset && !over {
			return nil, fail.New(fail.NotFound, op, l.ID+" bytes "+Gap{l.Parent.Offset, l.Offset}.String(),
				"choose a base of this timeline", errorf("the timeline was archived only from %d, it left %s at %d", l.Offset, l.Parent.Timeline, l.Parent.Offset))
		}
		if at.Offset > begins {
			spans = append(spans, targets.Span{Timeline: l.ID, From: begins, To: at.Offset})
		}
		at = l.Parent
	}
	return nil, fail.Newf(fail.Corrupt, op, point.Timeline, "the timelines' parents form a loop")
}

// sortTimelines orders by age, parents before children.
func sortTimelines(ls []Timeline) {
	slices.SortFunc(ls, func(a, b Timeline) int {
		if c := a.Began.Compare(b.Began); c != 0 {
			return c
		}
		return cmp.Compare(a.ID, b.ID)
	})
}
