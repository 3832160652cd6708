package search

import (
	"cmp"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// based is what an earlier cut left of a shard.
type based struct {
	cutAt uint64         // where it cut the shard
	kept  []proof.Record // of what was broken at it, and lies before what the look knows
}

// basedOn finds what a base has of each stretch of a look. What a stretch knows itself it
// need not be told.
func basedOn(l *proof.Look) []based {
	all := make([]based, len(l.Stretches))
	if l.Base == nil {
		return all
	}

	index := map[targets.ShardID]int{}
	for i := range l.Stretches {
		index[l.Stretches[i].Shard] = i
	}

	for _, p := range l.Base.Places {
		if i, ok := index[p.Shard]; ok {
			all[i].cutAt = p.Position
		}
	}

	for _, k := range l.Base.Kept {
		for _, r := range k.Records {
			if i, ok := index[r.Shard]; ok && r.Start < l.Stretches[i].Known {
				all[i].kept = append(all[i].kept, r.Record)
			}
		}
	}

	for i := range all {
		b := &all[i]
		slices.SortFunc(b.kept, func(a, c proof.Record) int { return cmp.Compare(a.Start, c.Start) })
		b.kept = slices.CompactFunc(b.kept, func(a, c proof.Record) bool { return a.Start == c.Start })
	}

	return all
}

// earlier are the records before the stretch that a global transaction may know. A record that
// was kept says all, and the same one in the look perhaps not.
func (s *shard) earlier() []proof.Record {
	if len(s.kept) == 0 {
		return s.Earlier
	}

	all := slices.Clone(s.kept)
	for _, r := range s.Earlier {
		if !s.isKept(&r) {
			all = append(all, r)
		}
	}

	slices.SortFunc(all, func(a, b proof.Record) int { return cmp.Compare(a.Start, b.Start) })

	return all
}

func (s *shard) isKept(r *proof.Record) bool {
	_, ok := slices.BinarySearchFunc(s.kept, r.Start, func(k proof.Record, at uint64) int { return cmp.Compare(k.Start, at) })
	return ok
}

// whenEarlier is when a record before the stretch was stamped: before the place had been
// reached. The clock says nothing of one that was kept: it may have been stepped since.
func (s *shard) whenEarlier(r *proof.Record) clock.Range {
	w := s.when(r)
	if s.isKept(r) {
		w = clock.Range{Earliest: never, Latest: s.knownFrom()}
	}

	if s.Reached != nil {
		w.Latest = min(w.Latest, *s.Reached)
	}

	return w
}

// checkBase refuses a base that the look does not go on from.
func checkBase(l *proof.Look) error {
	if l.Base == nil {
		return nil
	}

	places := map[targets.ShardID]uint64{}
	for _, p := range l.Base.Places {
		places[p.Shard] = p.Position
	}

	for i := range l.Stretches {
		s := &l.Stretches[i]

		p, ok := places[s.Shard]
		if !ok || len(l.Base.Places) != len(l.Stretches) {
			return fail.Newf(fail.Invalid, opFind, s.Shard.String(), "the base is not of the same shards")
		}

		if s.Known == 0 || p < s.Known || p > s.From {
			return fail.Newf(fail.Invalid, opFind, s.Shard.String(), "the base at %d does not lie between %d, from where on tags are known, and %d", p, s.Known, s.From)
		}
	}

	return nil
}

// basedAt reports whether a cut's list goes on where that of the base ended: what was half
// done before the look is told by the base, and old enough.
func (f *finder) basedAt(w *whole, t clock.Instant) bool {
	return f.look.Base != nil && w.knownFrom+f.limit() < t
}

// listed reports whether the base calls a tagged global transaction broken.
func (f *finder) listed(id string) bool {
	return slices.ContainsFunc(f.look.Base.Kept, func(k proof.Kept) bool { return k.ID == id && !k.TwoPhase })
}

// atBase reports whether a part counted at the base already.
func (f *finder) atBase(p part) bool {
	if p.member == nil {
		return p.at < f.shards[p.shard].cutAt
	}

	return p.member.at < f.shards[p.shard].cutAt && slices.ContainsFunc(p.member.group.members, func(m *member) bool {
		return m.is == proof.CommitPrepared && m.ended < f.shards[m.shard].cutAt
	})
}

// bound leaves out the oldest of very many broken ones.
func bound(cut *proof.Cut) {
	if len(cut.Broken) <= proof.MostBroken {
		return
	}

	slices.SortFunc(cut.Broken, func(a, b proof.HalfDone) int { return cmp.Or(cmp.Compare(b.Since, a.Since), byID(a, b)) })

	if last := cut.Broken[proof.MostBroken].Since; cut.Complete != nil || cut.Based {
		if cut.Complete != nil {
			last = max(last, *cut.Complete)
		}
		cut.Complete = &last
	}

	cut.More = len(cut.Broken) - proof.MostBroken
	cut.Broken = cut.Broken[:proof.MostBroken]
}

// keep takes the records in the cut of what is broken, and those of the gids that are tagged so.
func (f *finder) keep(w *whole, cut *proof.Cut) {
	if len(cut.Broken) == 0 {
		return
	}

	tagged, grouped := map[string]*proof.Kept{}, map[string]*proof.Kept{}
	all := make([]proof.Kept, len(cut.Broken))

	for i, b := range cut.Broken {
		all[i] = proof.Kept{ID: b.ID, TwoPhase: b.TwoPhase}
		if b.TwoPhase {
			grouped[b.ID] = &all[i]
		} else {
			tagged[b.ID] = &all[i]
		}
	}

	for i := range w.events {
		in := w.events[i][:w.done[i]]
		members := map[*member][]*proof.Kept{} // what their tags say

		for _, e := range in {
			for _, g := range e.globals {
				if k := tagged[g.id]; k != nil && e.member != nil && !slices.Contains(members[e.member], k) {
					members[e.member] = append(members[e.member], k)
				}
			}
		}

		for _, e := range in {
			of := slices.Clone(members[e.member])
			if e.member == nil {
				for _, g := range e.globals {
					of = append(of, tagged[g.id])
				}
			} else {
				of = append(of, grouped[e.member.group.id])
			}

			for _, k := range of {
				if k != nil {
					k.Records = append(k.Records, proof.KeptRecord{Shard: f.shards[i].Shard, Record: *e.record})
				}
			}
		}
	}

	for i := range all {
		slices.SortStableFunc(all[i].Records, func(a, b proof.KeptRecord) int { return a.Shard.Compare(b.Shard) })
	}
	cut.Kept = slices.DeleteFunc(all, func(k proof.Kept) bool { return len(k.Records) == 0 })
}
