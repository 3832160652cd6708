package timeline

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"drctl/targets"
)

// Timeline is one unbroken run of offsets as a vault (or several) hold it.
type Timeline struct {
	ID     string
	Kind   targets.Kind
	Offset uint64           // where it begins; unknown (0) without Origin
	Parent targets.Position // where it left another timeline; zero when it left none, or without Origin
	Began  time.Time        // when the archiver first saw it
	// Origin is false when the vault has chunks of the timeline but no Record:
	// its beginning and its parent are unknown.
	Origin  bool
	Chunks  []Chunk // sorted by From
	Holes   []Gap   // declared: bytes that the server had lost before they were archived
	History []byte  // the file kept with it, or nil
	// Damage says what of it could not be read and was passed over; the rest is
	// here. Origin is false when the record is among it.
	Damage []error
	// ListedFrom is set where only the end was listed: what begins before it was
	// not looked at.
	ListedFrom uint64
}

// Tip is the end of the farthest chunk, or the timeline's beginning.
func (l Timeline) Tip() uint64 {
	tip := l.Offset
	for _, c := range l.Chunks {
		tip = max(tip, c.To)
	}

	return tip
}

// LastSeen is when anything of the timeline was last written.
func (l Timeline) LastSeen() time.Time {
	t := l.Began
	for _, c := range l.Chunks {
		if c.Closed.After(t) {
			t = c.Closed
		}
	}

	return t
}

// DateByChunks dates a timeline without a record by its oldest chunk.
func (l *Timeline) DateByChunks() {
	for _, c := range l.Chunks {
		if l.Began.IsZero() || c.Closed.Before(l.Began) {
			l.Began = c.Closed
		}
	}
}

// maxDamage bounds how much is said of one timeline.
const maxDamage = 20

// PassOver notes what could not be read of the timeline.
func (l *Timeline) PassOver(err error) {
	if len(l.Damage) < maxDamage {
		l.Damage = append(l.Damage, err)
	}
}

// Unfilled are the declared holes whose bytes no chunk holds: a vault that was
// away can have had them.
func (l Timeline) Unfilled() []Gap {
	return slices.DeleteFunc(slices.Clone(l.Holes), func(h Gap) bool {
		_, gaps := Cover(l.Chunks, h.From, h.To)
		return len(gaps) == 0
	})
}

// Part is a piece of a gap: of a declared hole, or not.
type Part struct {
	Gap
	Declared bool
}

// Split tells which parts of a gap the archive itself declares: by the records
// of holes, and by a beginning behind the end of its parent.
func (l Timeline) Split(g Gap) []Part {
	holes := slices.Clone(l.Holes)
	if l.Origin && l.Parent.Timeline != "" && l.Offset > l.Parent.Offset {
		holes = append(holes, Gap{From: l.Parent.Offset, To: l.Offset})
	}

	slices.SortFunc(holes, func(a, b Gap) int { return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(a.To, b.To)) })

	var out []Part

	at := g.From
	for _, h := range holes {
		from, to := max(h.From, at), min(h.To, g.To)
		if from >= to {
			continue
		}

		if from > at {
			out = append(out, Part{Gap{at, from}, false})
		}
		out = append(out, Part{Gap{from, to}, true})
		at = to
	}

	if at < g.To {
		out = append(out, Part{Gap{at, g.To}, false})
	}

	return out
}

// Newest returns the timeline that the shard is on: the one written last; of
// two equally new ones the descendant. ok is false when there is none.
func Newest(timelines []Timeline) (l Timeline, ok bool) {
	for _, c := range timelines {
		if !ok {
			l, ok = c, true
			continue
		}

		switch cmp := c.LastSeen().Compare(l.LastSeen()); {
		case cmp > 0, cmp == 0 && c.Parent.Timeline == l.ID:
			l = c
		}
	}

	return l, ok
}

// Sort orders by age, parents before children.
func Sort(ls []Timeline) {
	slices.SortFunc(ls, func(a, b Timeline) int {
		return cmp.Or(a.Began.Compare(b.Began), cmp.Compare(a.ID, b.ID))
	})
}

// Find points at the timeline with an id, or returns nil.
func Find(ls []Timeline, id string) *Timeline {
	if i := slices.IndexFunc(ls, func(l Timeline) bool { return l.ID == id }); i >= 0 {
		return &ls[i]
	}

	return nil
}

// Union merges what several vaults hold, as if one vault held it all.
func Union(perVault [][]Timeline) []Timeline {
	byID := map[string]*union{}
	for _, ls := range perVault {
		for _, l := range ls {
			u := byID[l.ID]
			if u == nil {
				u = &union{l: l, keys: map[string]bool{}}
				u.l.Chunks, u.l.Holes = nil, nil
				byID[l.ID] = u
			}

			u.add(l)
		}
	}

	out := make([]Timeline, 0, len(byID))
	for _, id := range slices.Sorted(maps.Keys(byID)) {
		u := byID[id]
		SortChunks(u.l.Chunks)
		out = append(out, u.l)
	}

	Sort(out)

	return out
}

// union is what vaults together hold of one timeline.
type union struct {
	l    Timeline
	keys map[string]bool // of the chunks
}

func (u *union) add(l Timeline) {
	from := max(u.l.ListedFrom, l.ListedFrom)
	if l.Origin && !u.l.Origin {
		chunks, holes := u.l.Chunks, u.l.Holes
		u.l = l
		u.l.Chunks, u.l.Holes = chunks, holes
	}
	u.l.ListedFrom = from

	for _, h := range l.Holes {
		if !slices.Contains(u.l.Holes, h) {
			u.l.Holes = append(u.l.Holes, h)
		}
	}

	for _, c := range l.Chunks {
		if !u.keys[c.Key] {
			u.keys[c.Key] = true
			u.l.Chunks = append(u.l.Chunks, c)
		}
	}
}
