package stream

import (
	"context"
	"math"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// What a vault lacks is found at the ends of what the vaults hold, not by
// comparing all of it. A vault gets the oldest first, so what it holds has no
// hole but among the last chunks, where a crash left it, and at its end. What
// lies before the first chunk that it has was removed by its retention.

// compare lists what the vaults hold, so far as to tell what each of them lacks:
// all is their union, missing the keys per vault, oldest first. It completes
// the outlines in held. A vault without one (nil) lacks nothing that is known.
func (a *Archiver) compare(ctx context.Context, members []*member, held [][]timeline.Timeline) (all []timeline.Timeline, missing [][]item, err error) {
	var answered []*member
	for i, m := range members {
		if held[i] != nil {
			answered = append(answered, m)
		}
	}

	needs := make([]map[string]uint64, len(held))
	for i := range held {
		needs[i] = map[string]uint64{}
	}
	union := timeline.Union(held)

	newest, _ := timeline.Newest(union)
	for _, l := range union {
		floor := uint64(math.MaxUint64)
		for i, m := range members {
			if held[i] == nil {
				continue
			}
			mine := timeline.Find(held[i], l.ID)

			need, err := a.needed(ctx, m, answered, l, mine, l.ID == newest.ID)
			if err != nil {
				return nil, nil, err
			}
			needs[i][l.ID], floor = need, min(floor, need)
		}

		for i, m := range members {
			if mine := timeline.Find(held[i], l.ID); mine != nil && mine.ListedFrom > floor {
				if err := a.extend(ctx, m, mine, floor); err != nil {
					return nil, nil, err
				}
			}
		}
	}
	all = timeline.Union(held)

	missing = make([][]item, len(held))
	for i := range held {
		if held[i] != nil {
			missing[i] = lacking(a.opt.Shard, all, held[i], needs[i])
		}
	}

	return all, missing, nil
}

// needed is the offset of a timeline from which on a vault has to hold it.
// Mine is what it holds of it, or nil. Others are the vaults that answer.
// Nothing of the timeline that the shard is on counts as removed by retention
// without a base in the same timeline: a vault that has neither does not hold it.
func (a *Archiver) needed(ctx context.Context, m *member, others []*member, l timeline.Timeline, mine *timeline.Timeline, current bool) (uint64, error) {
	if mine != nil {
		for _, c := range mine.Chunks {
			switch {
			case c.From < mine.ListedFrom: // fills a hole
			case mine.ListedFrom == 0 && startOf(l, a.opt.Clock()).young:
				return l.Offset, nil // a crash may have kept the first chunk from it
			default:
				return c.From, nil
			}
		}
	}

	if len(l.Chunks) == 0 {
		return math.MaxUint64, nil
	}
	// It has nothing of it: it is new, was away all the time, or its retention
	// has removed it all.
	own, err := basesIn(ctx, m.v, a.opt.Shard)
	if len(own) > 0 {
		if !current && l.LastSeen().Before(own[0].Started.Add(-clockSlack)) {
			return math.MaxUint64, nil
		}

		return firstBase(own, l.ID, 0), nil
	}

	if err != nil {
		return 0, err
	}

	least := uint64(math.MaxUint64)
	for _, o := range others {
		bases, err := basesIn(ctx, o.v, a.opt.Shard)
		if err != nil {
			return 0, err
		}
		least = firstBase(bases, l.ID, least)
	}

	if least == math.MaxUint64 {
		least = l.Offset
	}

	return least, nil
}

// basesIn lists the bases of a vault whose records can be read: a damaged one is
// the check's to report, and must not end archiving.
func basesIn(ctx context.Context, v *vault.Vault, shard targets.ShardID) ([]targets.Artifact, error) {
	bases, err := v.Bases(ctx, shard)
	if fail.Is(err, fail.Corrupt) {
		err = nil
	}

	return bases, err
}

// clockSlack is by how much the clocks of an archiver and of one that takes
// bases may differ.
const clockSlack = time.Minute

// firstBase is where the first base of a timeline begins, or otherwise the
// offset when there is none.
func firstBase(bases []targets.Artifact, timeline string, otherwise uint64) uint64 {
	found := false
	for _, b := range bases {
		if b.From.Timeline == timeline && (!found || b.From.Offset < otherwise) {
			otherwise, found = b.From.Offset, true
		}
	}

	return otherwise
}

// extend lists what a vault holds of a timeline from an earlier offset on.
func (a *Archiver) extend(ctx context.Context, m *member, l *timeline.Timeline, from uint64) error {
	chunks, _, err := names{m.st, a.opt.Shard, l.ID}.between(ctx, from, math.MaxUint64)
	if err != nil {
		return err
	}
	chunks = slices.DeleteFunc(chunks, func(c timeline.Chunk) bool { return slices.Contains(a.opt.Lost, c.Key) }) // as in absent
	l.Chunks = append(l.Chunks, chunks...)
	timeline.SortChunks(l.Chunks)
	l.Chunks, l.ListedFrom = slices.Compact(l.Chunks), from

	return nil
}

// lacking lists, oldest first, the keys of all that are not in mine but needed
// there: of each timeline all from an offset on. Origins and holes come before
// their chunks.
func lacking(shard targets.ShardID, all, mine []timeline.Timeline, needs map[string]uint64) (out []item) {
	has := map[string]bool{}
	for _, l := range mine {
		if l.Origin {
			has[vault.OriginKey(shard, l.ID)] = true
		}

		for _, h := range l.Holes {
			has[vault.HoleKey(shard, l.ID, h.From, h.To)] = true
		}

		for _, c := range l.Chunks {
			has[c.Key] = true
		}
	}

	for _, l := range all {
		if k := vault.OriginKey(shard, l.ID); l.Origin && !has[k] {
			out = append(out, item{key: k})
		}

		for _, h := range l.Holes {
			if k := vault.HoleKey(shard, l.ID, h.From, h.To); !has[k] {
				out = append(out, item{key: k})
			}
		}
		own := timeline.Find(mine, l.ID)

		first := own == nil || len(own.Chunks) == 0
		for _, c := range l.Chunks {
			if !has[c.Key] && c.To > needs[l.ID] {
				out = append(out, item{key: c.Key, first: first})
				first = false
			}
		}
	}

	return out
}
