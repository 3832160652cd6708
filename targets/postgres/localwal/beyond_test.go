package localwal

import (
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"drctl/targets/postgres/timelines"
	"drctl/targets/postgres/wal"
)

const segment = 1 << 20

// write makes the log of two segments, with what a test puts into it.
func write(t *testing.T, put func(log []byte)) *Log {
	t.Helper()

	l := &Log{dir: t.TempDir(), Point: timelines.Point{System: "7", Timeline: 1}, Segment: segment}
	log := make([]byte, 2*segment)
	put(log)

	for i := range 2 {
		path := filepath.Join(l.dir, timelines.SegmentName(1, uint64(i)*segment, segment))
		if err := os.WriteFile(path, log[i*segment:(i+1)*segment], 0o600); err != nil {
			t.Fatal(err)
		}
	}

	return l
}

// record puts a record with a predecessor.
func record(log []byte, at, previous uint64) {
	head := log[at : at+40]
	le.PutUint32(head, 40)
	le.PutUint64(head[8:], previous)
	head[30] = 7
	le.PutUint32(head[20:], crc32.Update(crc32.Checksum(head[24:], castagnoli), castagnoli, head[:20]))
}

func page(log []byte, at, address uint64) {
	le.PutUint16(log[at:], 0xD110)
	le.PutUint64(log[at+8:], address)
}

// Log that goes on behind an end is found, in the page of the end and in those behind it. What a
// recycled file has kept of another place is not taken for it.
func TestBeyond(t *testing.T) {
	const end = 3*wal.PageSize + 1000

	for name, c := range map[string]struct {
		put  func(log []byte)
		want uint64
	}{
		"nothing":                         {func([]byte) {}, 0},
		"a record behind a damaged one":   {func(log []byte) { record(log, end+64, end) }, end + 64},
		"a predecessor in front of it":    {func(log []byte) { record(log, end+64, end-40) }, 0},
		"a record of a former use":        {func(log []byte) { record(log, end+64, 77) }, 0},
		"a record that is damaged itself": {func(log []byte) { record(log, end+64, end); log[end+64+30]++ }, 0},
		"a page":                          {func(log []byte) { page(log, 5*wal.PageSize, 5*wal.PageSize) }, 5 * wal.PageSize},
		"a page of the next file":         {func(log []byte) { page(log, segment, segment) }, segment},
		"a page of a former use":          {func(log []byte) { page(log, 5*wal.PageSize, 99*segment) }, 0},
	} {
		at, found, err := write(t, c.put).Beyond(end)
		if err != nil || at != c.want || found != (c.want != 0) {
			t.Errorf("%s: %d, %t, %v", name, at, found, err)
		}
	}
}
