package stream

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Chunk is one immutable vault object with the bytes [From, To) of a timeline.
type Chunk struct {
	From, To uint64
	Closed   time.Time // when the archiver closed it, millisecond precision
	Key      string    // in the vault
}

// Gap is a range [From, To) that no chunk holds.
type Gap struct {
	From, To uint64
}

// String renders "[from,to)".
func (g Gap) String() string { return fmt.Sprintf("[%d,%d)", g.From, g.To) }

// compareChunks sorts by where a chunk begins, the longest first, then by key.
func compareChunks(a, b Chunk) int {
	if c := cmp.Compare(a.From, b.From); c != 0 {
		return c
	}
	if c := cmp.Compare(b.To, a.To); c != 0 {
		return c
	}
	return cmp.Compare(a.Key, b.Key)
}

// Cover chooses as few chunks as possible that together hold [from, to), in
// order of their offsets, and names what none holds. Overlaps and duplicates
// are fine: the reader trims them. Chunks need not be sorted; they are not
// changed. Empty chunks are ignored.
func Cover(chunks []Chunk, from, to uint64) (use []Chunk, gaps []Gap) {
	if from >= to {
		return nil, nil
	}
	sorted := chunks
	if !slices.IsSortedFunc(chunks, compareChunks) {
		sorted = slices.Clone(chunks)
		slices.SortFunc(sorted, compareChunks)
	}
	pos, i := from, 0
	for pos < to {
		// The best of all that begin at or before pos reaches farthest.
		best := -1
		for ; i < len(sorted) && sorted[i].From <= pos; i++ {
			c := sorted[i]
			if c.To > c.From && c.To > pos && (best < 0 || c.To > sorted[best].To) {
				best = i
			}
		}
		if best >= 0 {
			use = append(use, sorted[best])
			pos = sorted[best].To
			continue
		}
		next := to
		for j := i; j < len(sorted); j++ {
			if sorted[j].To > sorted[j].From {
				next = min(next, sorted[j].From)
				break
			}
		}
		gaps = append(gaps, Gap{From: pos, To: next})
		pos = next
	}
	return use, gaps
}

// run is a maximal range that chunks hold without a gap.
type run struct {
	from, to uint64
}

// runs merges chunks into maximal contiguous ranges, in order.
func runs(chunks []Chunk) []run {
	sorted := slices.Clone(chunks)
	slices.SortFunc(sorted, compareChunks)
	var out []run
	for _, c := range sorted {
		if c.To <= c.From {
			continue
		}
		if n := len(out); n > 0 && c.From <= out[n-1].to {
			out[n-1].to = max(out[n-1].to, c.To)
			continue
		}
		out = append(out, run{from: c.From, to: c.To})
	}
	return out
}

// crashReach and mostFlying are how far beyond an unfinished chunk an archiver
// can have written when it is killed, in bytes and in chunks. A gap that is
// farther than this behind the tip of its timeline (of chunks twice as many, as
// two archivers may have written at once) was not left by a crash: it was declared, or retention or damage made it, and going back to it would not
// fill it.
const (
	crashReach = 1 << 30
	mostFlying = 128
)

// youngFor is for how long after its beginning a timeline must still have its
// first chunk: retention removes nothing that is younger. Before that, a
// missing beginning was left by a crash.
const youngFor = 24 * time.Hour

// behind counts the chunks that end after an offset.
func behind(chunks []Chunk, offset uint64) (n int) {
	for _, c := range chunks {
		if c.To > offset {
			n++
		}
	}
	return n
}

// beginning is where a timeline began, by its origin.
type beginning struct {
	offset uint64
	young  bool // it began less than youngFor ago
}

// startOf tells where a timeline began.
func startOf(l Timeline, now time.Time) beginning {
	return beginning{offset: l.Offset, young: l.Origin && l.cutOff == 0 && now.Sub(l.Began) < youngFor}
}

// openRuns merges the runs whose gaps are final and returns the run at whose
// end an archiver must resume, with all whole runs before it; none, when the
// beginning itself is missing. A gap is open, that is a crash left it and the
// sender still has its bytes, when it is that near to the tip and
// begins after the last declared hole: an archiver resumes at the first open
// gap, so when it declared a hole there, the sender had lost what came before
// the hole's end. Where a hole ends a run begins, even an empty one.
func openRuns(from beginning, chunks []Chunk, holes []Gap) []run {
	all := runs(chunks)
	given := uint64(0) // what begins below is archived or given up
	for _, h := range holes {
		given = max(given, h.To)
	}
	if given > 0 && !slices.ContainsFunc(all, func(r run) bool { return r.from <= given && given <= r.to }) {
		i, _ := slices.BinarySearchFunc(all, given, func(r run, at uint64) int { return cmp.Compare(r.from, at) })
		all = slices.Insert(all, i, run{from: given, to: given})
	}
	if len(all) == 0 {
		return nil
	}
	if from.young && all[0].from > from.offset && from.offset >= given {
		// Several chunks fly at once: the first may have been lost, and its
		// bytes are still the sender's, when later ones have arrived.
		return nil
	}
	tip := all[len(all)-1].to
	for i := 1; i < len(all); i++ {
		if end := all[i-1].to; end >= given && tip-end <= crashReach && behind(chunks, end) <= 2*mostFlying {
			return all[:i]
		}
	}
	return all
}
