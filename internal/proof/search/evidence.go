package search

import (
	"cmp"
	"slices"

	"drctl/internal/proof"
	"drctl/targets"
)

// cut puts the evidence of a candidate together.
func (f *finder) cut(w *whole, c candidate) proof.Cut {
	cut := proof.Cut{Grade: f.grade, Observer: f.look.Observer, T: c.t, Gap: c.gap}

	for i, s := range f.shards {
		cut.Shards = append(cut.Shards, s.cut(c.next[i]))
	}

	for i := range f.look.Masters {
		m := &f.look.Masters[i]
		cut.Redis = append(cut.Redis, proof.MasterCut{Shard: m.Shard, Paused: m.Paused, Marker: m.Markers[c.markers[i]]})
	}

	if c.hold >= 0 {
		held := f.look.Holds[c.hold]
		cut.Hold = &held
	}

	f.tell(w, &cut)

	return cut
}

// cut is the place of a cut in the shard, with the commits next to it.
func (s *shard) cut(next int) proof.ShardCut {
	c := proof.ShardCut{Shard: s.Shard, Timeline: s.Timeline, Position: s.place(next)}
	if s.Reached != nil {
		c.Reached = *s.Reached
	}

	for i := range s.Records[:next] {
		if r := &s.Records[i]; commits(r) {
			if w := s.when(r); c.Last == nil || w.Latest > c.Last.Latest {
				c.Last = &proof.Edge{Position: r.Start, Stamp: r.Stamp, Range: w}
			}
		}
	}

	if next < len(s.Records) {
		r := &s.Records[next]
		c.Next = &proof.Edge{Position: r.Start, Stamp: r.Stamp, Range: s.when(r)}
	} else {
		c.Ended = s.Ended
	}

	return c
}

// tell writes what the cut does to global transactions.
func (f *finder) tell(w *whole, cut *proof.Cut) {
	cut.Based = f.basedAt(w, cut.T)
	untold := w.knownFrom // since when the last one was half done of which nothing is told

	for _, g := range w.globals {
		switch {
		case len(g.in) == 0:
		case !g.halfDone():
			cut.Tags++
		case f.beforeKnown(w, g, cut):
			untold = max(untold, g.since)
		default:
			f.halfDone(cut, &g.state, proof.HalfDone{Done: len(g.in), Want: g.want, Shards: f.named(g.shards()), Since: g.since})
		}
	}

	for _, g := range w.groups {
		f.tellGroup(w, cut, g)
	}

	if !cut.Based && untold < always {
		cut.Complete = &untold
	}

	bound(cut)

	slices.SortFunc(cut.Broken, byID)
	slices.SortFunc(cut.Half, byID)
	slices.SortFunc(cut.InDoubt, func(a, b proof.Resolution) int {
		return cmp.Or(a.Shard.Compare(b.Shard), cmp.Compare(a.GID, b.GID))
	})

	f.keep(w, cut)
}

func byID(a, b proof.HalfDone) int {
	if a.ID == b.ID && a.TwoPhase != b.TwoPhase {
		return map[bool]int{false: -1, true: 1}[a.TwoPhase]
	}

	return cmp.Compare(a.ID, b.ID)
}

// beforeKnown reports whether the rest of a global transaction that is too old to hold up the
// cut may have been done before the logs of all shards were known: nobody can say then
// that it is broken. What is known of an earlier cut says it: at that it was broken, or whole, or
// nothing of it was done.
func (f *finder) beforeKnown(w *whole, g *global, cut *proof.Cut) bool {
	if !g.unseen() || len(g.in) < g.total || g.since+f.limit() >= cut.T {
		return false
	}

	if cut.Based {
		return !f.listed(g.id) && slices.ContainsFunc(g.in, f.atBase)
	}
	first := always

	for _, p := range g.in {
		first = min(first, p.earliest())
	}

	return first-f.limit() <= w.knownFrom
}

func (f *finder) tellGroup(w *whole, cut *proof.Cut, g *group) {
	h := proof.HalfDone{TwoPhase: true, Want: len(g.members), Since: always}

	var parts []int

	doubt := false
	for _, m := range g.members {
		switch m.is {
		case proof.Prepare:
			doubt = true
			cut.InDoubt = append(cut.InDoubt, proof.Resolution{Shard: f.shards[m.shard].Shard, GID: m.gid,
				Group: g.id, Action: m.action(w), Prepared: m.at})
		case proof.CommitPrepared:
			h.Done++
		default:
			continue
		}
		parts = append(parts, m.shard)
		h.Since = min(h.Since, m.when.Latest)
	}

	if len(parts) == 0 {
		return
	}

	cut.Groups++

	if doubt || g.half && !w.closed(g.id) {
		h.Shards = f.named(parts)
		if g.half {
			h.Since = g.since
		}
		// Being in doubt for a while is how two phases work; only a half is worth telling.
		if old := h.Since+f.limit() < cut.T; old || g.half {
			f.halfDone(cut, &state{id: g.id, since: h.Since}, h)
		}
	}
}

// action is what recovery does with a prepared transaction.
func (m *member) action(w *whole) proof.Action {
	switch {
	case m.group.reused:
		return proof.LeaveIt
	case m.group.committed():
		return proof.CommitIt
	case m.sure(w):
		return proof.RollBackIt
	}

	return proof.LeaveIt
}

// halfDone puts a global transaction where it belongs.
func (f *finder) halfDone(cut *proof.Cut, s *state, h proof.HalfDone) {
	h.ID = s.id
	if s.since+f.limit() < cut.T {
		cut.Broken = append(cut.Broken, h)
	} else {
		cut.Half = append(cut.Half, h)
	}
}

func (f *finder) named(shards []int) []targets.ShardID {
	var names []targets.ShardID
	for _, i := range shards {
		names = append(names, f.shards[i].Shard)
	}

	slices.SortFunc(names, targets.ShardID.Compare)

	return slices.Compact(names)
}
