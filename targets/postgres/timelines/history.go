package postgres

import (
	"fmt"
	"strconv"
	"strings"

	"drctl/targets"
)

// A switchPoint says that a timeline was left at an LSN.
type switchPoint struct {
	tli uint32
	end uint64
}

// history is the way to a timeline: the ancestors, oldest first.
type history []switchPoint

// parseHistory reads a timeline history file.
func parseHistory(content []byte) (history, error) {
	var h history
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
		h = append(h, switchPoint{uint32(tli), lsn})
	}

	return h, nil
}

// at returns the timeline on which the bytes at lsn were written, current
// being the timeline that the history leads to.
func (h history) at(lsn uint64, current uint32) uint32 {
	for _, s := range h {
		if lsn < s.end {
			return s.tli
		}
	}

	return current
}

// find returns the index of a timeline among the ancestors, or -1.
func (h history) find(tli uint32) int {
	for i, s := range h {
		if s.tli == tli {
			return i
		}
	}

	return -1
}

// parent returns the position where the timeline that h leads to left its
// parent, and whether there is one.
func (h history) parent(systemID string) (targets.Position, bool) {
	if len(h) == 0 {
		return targets.Position{}, false
	}
	last := h[len(h)-1]

	return targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(systemID, last.tli), Offset: last.end}, true
}

// begin returns where the timeline that h leads to starts: 0 for the first.
func (h history) begin() uint64 {
	if len(h) == 0 {
		return 0
	}

	return h[len(h)-1].end
}

func historyFileName(tli uint32) string { return fmt.Sprintf("%08X.history", tli) }

// segmentName names the WAL file that holds the byte at lsn.
func segmentName(tli uint32, lsn, segmentSize uint64) string {
	n, per := lsn/segmentSize, uint64(0x100000000)/segmentSize
	return fmt.Sprintf("%08X%08X%08X", tli, n/per, n%per)
}

func segmentStart(lsn, segmentSize uint64) uint64 { return lsn - lsn%segmentSize }
