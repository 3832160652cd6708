package timeline

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
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

// GapsText names gaps one after the other.
func GapsText(gaps []Gap) string {
	names := make([]string, len(gaps))
	for i, g := range gaps {
		names[i] = g.String()
	}

	return strings.Join(names, ", ")
}

// compareChunks sorts by where a chunk begins, the longest first, then by key.
func compareChunks(a, b Chunk) int {
	return cmp.Or(cmp.Compare(a.From, b.From), cmp.Compare(b.To, a.To), cmp.Compare(a.Key, b.Key))
}

// SortChunks sorts by where a chunk begins, the longest first, then by key.
func SortChunks(chunks []Chunk) { slices.SortFunc(chunks, compareChunks) }

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
		SortChunks(sorted)
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

// Run is a range [From, To) that chunks hold without a gap, as long as can be.
type Run struct {
	From, To uint64
}

// Runs merges chunks into contiguous ranges, in order.
func Runs(chunks []Chunk) []Run {
	sorted := slices.Clone(chunks)
	SortChunks(sorted)

	var out []Run
	for _, c := range sorted {
		if c.To <= c.From {
			continue
		}

		if n := len(out); n > 0 && c.From <= out[n-1].To {
			out[n-1].To = max(out[n-1].To, c.To)
			continue
		}
		out = append(out, Run{From: c.From, To: c.To})
	}

	return out
}
