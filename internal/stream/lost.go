package stream

import (
	"context"
	"fmt"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
)

// Lost is in the error of an archiver that found no whole copy of a chunk of
// the current timeline. An archiver that is started with the key among
// Options.Lost takes the chunk for absent: it resumes there, as the sender may
// still have the bytes, and declares a hole only if it has not.
type Lost struct {
	Key string // of the chunk
}

func (l *Lost) Error() string { return "no vault holds " + l.Key + " whole" }

// absent removes the chunks that are known to be lost from what was listed.
func absent(held [][]timeline.Timeline, lost []string) {
	if len(lost) == 0 {
		return
	}

	for _, ls := range held {
		for i := range ls {
			ls[i].Chunks = slices.DeleteFunc(ls[i].Chunks, func(c timeline.Chunk) bool { return slices.Contains(lost, c.Key) })
		}
	}
}

// firstLost is the first byte of a timeline that is lost and not given up, or end.
func firstLost(l timeline.Timeline, lost []string, end uint64) uint64 {
	for _, key := range lost {
		c, ok := vault.ParseChunkKey(key)
		if !ok || c.Timeline != l.ID {
			continue
		}

		for _, g := range uncovered(l.Chunks, l.Holes, c.From, c.To) {
			end = min(end, g.From)
		}
	}

	return end
}

// uncovered are the ranges that no chunk holds and no hole gives up.
func uncovered(chunks []timeline.Chunk, holes []timeline.Gap, from, to uint64) []timeline.Gap {
	given := slices.Clone(chunks)
	for _, h := range holes {
		given = append(given, timeline.Chunk{From: h.From, To: h.To})
	}
	_, gaps := timeline.Cover(given, from, to)

	return gaps
}

// gone decides about something that a vault lacks and no other has whole. It
// reports whether the vault can do without: when retention took it, when other
// chunks hold the same bytes, or when the bytes are given up. A chunk of the
// current timeline ends the archiver instead, with Lost: what nobody holds must
// not become durable, as the sender would drop it.
func (a *Archiver) gone(ctx context.Context, m *member, it item, damaged bool) (waived bool, err error) {
	log := a.log.With("vault", m.v.Region(), "key", it.key)

	c, isChunk := vault.ParseChunkKey(it.key)
	if !isChunk || !damaged && it.to == 0 {
		log.Error("no vault holds this object whole")
		return true, nil
	}

	var chunks []timeline.Chunk

	var holes []timeline.Gap
	for _, o := range a.members {
		cs, hs, err := listTimeline(ctx, o.st, a.opt.Shard, c.Timeline, "")
		if err != nil {
			return false, err
		}
		chunks, holes = append(chunks, cs...), append(holes, hs...)
	}
	// What was found damaged holds no bytes either.
	a.mu.Lock()
	chunks = slices.DeleteFunc(chunks, func(o timeline.Chunk) bool { return o.Key == it.key || a.bad[o.Key] })

	a.mu.Unlock()

	gaps := uncovered(chunks, holes, c.From, c.To)
	if len(gaps) == 0 {
		log.Warn("no vault holds this chunk whole; its bytes are in others, or given up")
		return true, nil
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	if c.Timeline == a.timeline {
		log.Error("no vault holds this chunk whole; going back to it, as the server may still have its bytes")
		a.giveUp(fail.New(fail.Corrupt, "stream: catch up", a.opt.Shard.String()+" timeline "+c.Timeline+" bytes "+timeline.Gap{From: c.From, To: c.To}.String(),
			"see what damages objects in the vaults, with: drctl backup verify", &Lost{it.key}))

		return false, nil
	}

	s := a.known[c.Timeline]
	for _, g := range gaps {
		if err := a.sendHole(c.Timeline, g.From, g.To); err != nil {
			return false, err
		}
		s.holes = append(s.holes, g)
	}
	a.known[c.Timeline] = s
	a.interrupt()

	return true, nil
}

// interrupt tells that the log was interrupted. Callers hold mu.
func (a *Archiver) interrupt() {
	select {
	case a.broken <- struct{}{}:
	default:
	}
}

// sendHole sends off the record of bytes that are given up. Callers hold mu.
func (a *Archiver) sendHole(id string, from, to uint64) error {
	a.log.Error("the stream has a hole: no recovery leads over it but from a newer base", "timeline", id, "from", from, "to", to)
	return a.sendRecord(vault.HoleKey(a.opt.Shard, id, from, to), timeline.Hole{Timeline: id, From: from, To: to, Declared: a.opt.Clock().UTC()})
}

// putHoles declares what is not archived of a range that is passed over, and
// returns it. Beyond are the chunks that were archived out of order.
func (a *Archiver) putHoles(ctx context.Context, id string, beyond []timeline.Chunk, from, to uint64) ([]timeline.Gap, error) {
	_, gaps := timeline.Cover(beyond, from, to)
	for _, g := range gaps {
		a.mu.Lock()
		err := a.sendHole(id, g.From, g.To)
		a.mu.Unlock()

		if err == nil {
			err = a.recorded(ctx)
		}

		if err != nil {
			return nil, fmt.Errorf("declare the hole %s: %w", g, err)
		}
	}

	return gaps, nil
}
