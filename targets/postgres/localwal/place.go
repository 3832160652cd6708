package localwal

import "drctl/targets/postgres/wal"

// SamePlace reports whether a log that was left at one place was replayed to another: a page's
// header, or the rest of a segment, may lie between the two.
func SamePlace(left, to wal.LSN, segment uint64) bool {
	if left > to {
		return uint64(left)%segment == 0 && uint64(left-to) < segment
	}

	return left.RecordStart(segment) == to.RecordStart(segment)
}
