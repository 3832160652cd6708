package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"drctl/internal/fail"
	"drctl/targets/postgres/wal"
)

// FuzzReader feeds the reader, and what stands on it, pages of real logs with
// some bytes changed, and bytes that are no log at all: it ends with an error
// that says what is wrong, and soon. The changes are small for the fuzzer's sake,
// which takes minutes to shorten one input of two pages.
func FuzzReader(f *testing.F) {
	names, err := filepath.Glob("testdata/*.wal")
	if err != nil || len(names) == 0 {
		f.Fatal("no pages of real logs: ", err)
	}

	var pages [][]byte
	for i, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		pages = append(pages, b)

		f.Add(uint8(i), uint16(0), []byte{}, false)

		for at := 40; at < wal.PageSize; at += 1000 {
			f.Add(uint8(i), uint16(at), b[at:at+40], true)
		}

		f.Add(uint8(255), uint16(0), b[:300], true)
	}

	f.Fuzz(func(t *testing.T, page uint8, at uint16, change []byte, mend bool) {
		b := change
		if int(page) < len(pages) {
			b = bytes.Clone(pages[page])
			copy(b[int(at)%len(b):], change)
		}

		if mend {
			b = mended(b)
		}

		var o wal.Options
		if len(b) >= 16 { // where the first page says that it lies
			o.Start = wal.LSN(binary.LittleEndian.Uint64(b[8:]) &^ (wal.PageSize - 1))
		}
		o.All = true

		r, err := wal.NewReader(bytes.NewReader(b), o)
		if err != nil {
			t.Fatal(err)
		}

		var x wal.Transactions
		for n := 0; ; n++ {
			rec, err := r.Next()
			if err != nil {
				if !errors.Is(err, io.EOF) && !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.Unsupported) {
					t.Fatal(err)
				}

				return
			}

			if n > len(b)/24 {
				t.Fatalf("%d records in %d bytes", n, len(b))
			}

			if rec.End <= rec.Start || rec.Start < o.Start || rec.End > o.Start+wal.LSN(len(b)+7) && rec.Kind != wal.SegmentSwitch {
				t.Fatalf("a record from %v to %v", rec.Start, rec.End)
			}

			_, _ = rec.Message()

			_, _ = rec.Snapshot()
			if _, err := x.Add(rec); err != nil && !fail.Is(err, fail.Corrupt) && !fail.Is(err, fail.Unsupported) {
				t.Fatal(err)
			}
		}
	})
}

// mended gives each record on the first page a checksum that fits and the right
// predecessor, so that what is behind the checksum is reached.
func mended(b []byte) []byte {
	le, table := binary.LittleEndian, crc32.MakeTable(crc32.Castagnoli)

	if len(b) < 40 {
		return b
	}

	b = bytes.Clone(b)

	at, prev := 24, uint64(0)
	if b[2]&2 != 0 {
		at = 40
	}
	at = (at + int(le.Uint32(b[16:])%wal.PageSize) + 7) &^ 7
	start := le.Uint64(b[8:]) &^ (wal.PageSize - 1)

	for at+24 <= min(len(b), wal.PageSize) {
		end := at + int(le.Uint32(b[at:])%wal.PageSize)
		if end < at+24 || end > min(len(b), wal.PageSize) {
			break
		}

		if prev != 0 {
			le.PutUint64(b[at+8:], prev)
		}
		crc := crc32.Update(crc32.Checksum(b[at+24:end], table), table, b[at:at+20])
		le.PutUint32(b[at+20:], crc)
		prev = start + uint64(at)
		at = (end + 7) &^ 7
	}

	return b
}

// A record that claims a gigabyte costs what it has, not what it claims.
func TestHostileLength(t *testing.T) {
	b := make([]byte, 40)
	le := binary.LittleEndian
	le.PutUint16(b, 0xD118)
	le.PutUint16(b[2:], 2)
	le.PutUint32(b[4:], 1)
	le.PutUint64(b[8:], 1<<30)
	le.PutUint32(b[32:], 16<<20)
	le.PutUint32(b[36:], wal.PageSize)
	head := make([]byte, 24)
	le.PutUint32(head, 1<<30)
	head[17] = 1 // a commit
	b = append(append(b, head...), make([]byte, 100)...)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)

	r, err := wal.NewReader(bytes.NewReader(b), wal.Options{Start: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}

	if _, err := r.Next(); !errors.Is(err, io.EOF) || r.NextStart() != 1<<30+40 {
		t.Errorf("%v, next at %v", err, r.NextStart())
	}

	runtime.ReadMemStats(&after)

	if grown := after.TotalAlloc - before.TotalAlloc; grown > 4<<20 {
		t.Errorf("%d bytes of memory for %d of log", grown, len(b))
	}
}
