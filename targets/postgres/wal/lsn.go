package wal

import (
	"encoding/binary"
	"fmt"
	"time"

	"drctl/internal/fail"
)

// LSN is a place in the log: the number of bytes before it.
type LSN uint64

// String renders it as the server does: "16/B374D848".
func (l LSN) String() string { return fmt.Sprintf("%X/%X", uint64(l)>>32, uint32(l)) }

// align returns the first place at or behind l where a record may begin.
func (l LSN) align() LSN { return (l + 7) &^ 7 }

// RecordStart is where the next record begins if the one before ends at l: behind
// the header of the page, or of the segment, that would be in between.
func (l LSN) RecordStart(segment uint64) LSN {
	next := l.align()
	switch {
	case segment != 0 && uint64(next)%segment == 0:
		next += longHeader
	case next%PageSize == 0:
		next += shortHeader
	}

	return next
}

var le = binary.LittleEndian

// The server counts microseconds from 2000-01-01. A clock beyond a few
// thousand years is damage.
const (
	epoch    = 946_684_800_000_000
	farthest = 300_000_000_000_000_000
)

// stamp turns a time of the server into one of Go; false when it is no time.
func stamp(micros int64) (time.Time, bool) {
	if micros > farthest || micros < -epoch {
		return time.Time{}, false
	}

	return time.UnixMicro(micros + epoch).UTC(), true
}

// precedes compares transaction identifiers, which wrap around.
func precedes(a, b uint32) bool { return int32(a-b) < 0 }

func corrupt(at LSN, format string, args ...any) error {
	return fail.New(fail.Corrupt, "read log", at.String(), "", fmt.Errorf(format, args...))
}

func unsupported(at LSN, format string, args ...any) error {
	return fail.New(fail.Unsupported, "read log", at.String(), "PostgreSQL 13 to 18 with pages of 8 kB are known", fmt.Errorf(format, args...))
}
