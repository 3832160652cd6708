package timelines

import (
	"fmt"
	"strconv"
	"strings"

	"drctl/targets"
)

// Switch says that a timeline was left at an LSN.
type Switch struct {
	Timeline uint32
	End      uint64
}

// History is the way to a timeline: the ancestors, oldest first.
type History []Switch

// Parse reads a timeline history file.
func Parse(content []byte) (History, error) {
	var h History
	for n, line := range strings.Split(string(content), "\n") {
		f := strings.Fields(line)
		if len(f) == 0 || strings.HasPrefix(f[0], "#") {
			continue
		}

		if len(f) < 2 {
			return nil, fmt.Errorf("timeline history line %d: %q", n+1, line)
		}

		tli, err := strconv.ParseUint(f[0], 10, 32)
		if err != nil {
			return nil, fmt.Errorf("timeline history line %d: %w", n+1, err)
		}

		lsn, err := targets.ParseLSN(f[1])
		if err != nil {
			return nil, fmt.Errorf("timeline history line %d: %w", n+1, err)
		}
		h = append(h, Switch{uint32(tli), lsn})
	}

	return h, nil
}

// At returns the timeline on which the bytes at lsn were written, current
// being the timeline that the history leads to.
func (h History) At(lsn uint64, current uint32) uint32 {
	for _, s := range h {
		if lsn < s.End {
			return s.Timeline
		}
	}

	return current
}

// Find returns the index of a timeline among the ancestors, or -1.
func (h History) Find(tli uint32) int {
	for i, s := range h {
		if s.Timeline == tli {
			return i
		}
	}

	return -1
}

// Parent returns the position where the timeline that h leads to left its
// parent, and whether there is one.
func (h History) Parent(systemID string) (targets.Position, bool) {
	if len(h) == 0 {
		return targets.Position{}, false
	}
	last := h[len(h)-1]

	return targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(systemID, last.Timeline), Offset: last.End}, true
}

// Left are the positions where the way to a timeline left its ancestors, the oldest first.
func (h History) Left(systemID string) (out []targets.Position) {
	for i := range h {
		at, _ := h[:i+1].Parent(systemID)
		out = append(out, at)
	}

	return out
}

// Begin returns where the timeline that h leads to starts: 0 for the first.
func (h History) Begin() uint64 {
	if len(h) == 0 {
		return 0
	}

	return h[len(h)-1].End
}

// FileName names the history file of a timeline.
func FileName(tli uint32) string { return fmt.Sprintf("%08X.history", tli) }

// SegmentName names the WAL file that holds the byte at lsn.
func SegmentName(tli uint32, lsn, segmentSize uint64) string {
	n, per := lsn/segmentSize, uint64(0x100000000)/segmentSize
	return fmt.Sprintf("%08X%08X%08X", tli, n/per, n%per)
}

// SegmentStart is where the segment of the byte at lsn begins.
func SegmentStart(lsn, segmentSize uint64) uint64 { return lsn - lsn%segmentSize }
