package stream

import (
	"cmp"
	"slices"
	"time"

	"drctl/internal/timeline"
)

// crashReach and mostFlying are how far beyond an unfinished chunk an archiver
// can have written when it is killed, in bytes and in chunks. A gap that is
// farther than this behind the tip of its timeline (of chunks twice as many, as
// two archivers may have written at once) was not left by a crash: it was
// declared, or retention or damage made it, and going back to it would not fill it.
const (
	crashReach = 1 << 30
	mostFlying = 128
)

// youngFor is for how long after its beginning a timeline must still have its
// first chunk: retention removes nothing that is younger. Before that, a
// missing beginning was left by a crash.
const youngFor = 24 * time.Hour

// behind counts the chunks that end after an offset.
func behind(chunks []timeline.Chunk, offset uint64) (n int) {
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
func startOf(l timeline.Timeline, now time.Time) beginning {
	return beginning{offset: l.Offset, young: l.Origin && l.ListedFrom == 0 && now.Sub(l.Began) < youngFor}
}

// openRuns merges the runs whose gaps are final and returns the run at whose
// end an archiver must resume, with all whole runs before it; none, when the
// beginning itself is missing. A gap is open, that is a crash left it and the
// sender still has its bytes, when it is that near to the tip and
// begins after the last declared hole: an archiver resumes at the first open
// gap, so when it declared a hole there, the sender had lost what came before
// the hole's end. Where a hole ends a run begins, even an empty one.
func openRuns(from beginning, chunks []timeline.Chunk, holes []timeline.Gap) []timeline.Run {
	all := timeline.Runs(chunks)

	given := uint64(0) // what begins below is archived or given up
	for _, h := range holes {
		given = max(given, h.To)
	}

	if given > 0 && !slices.ContainsFunc(all, func(r timeline.Run) bool { return r.From <= given && given <= r.To }) {
		i, _ := slices.BinarySearchFunc(all, given, func(r timeline.Run, at uint64) int { return cmp.Compare(r.From, at) })
		all = slices.Insert(all, i, timeline.Run{From: given, To: given})
	}

	if len(all) == 0 {
		return nil
	}

	if from.young && all[0].From > from.offset && from.offset >= given {
		// Several chunks fly at once: the first may have been lost, and its
		// bytes are still the sender's, when later ones have arrived.
		return nil
	}

	tip := all[len(all)-1].To
	for i := 1; i < len(all); i++ {
		if end := all[i-1].To; end >= given && tip-end <= crashReach && behind(chunks, end) <= 2*mostFlying {
			return all[:i]
		}
	}

	return all
}
