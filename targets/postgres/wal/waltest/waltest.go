package waltest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"drctl/targets/postgres/wal"
)

// Files are the segments in a data directory, in the order of the log.
func Files(t testing.TB, dataDir string) []string {
	t.Helper()

	files, err := filepath.Glob(filepath.Join(dataDir, "pg_wal", "????????????????????????"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log in %s: %v", dataDir, err)
	}

	slices.Sort(files)

	return files
}

// Log is the bytes of all segments, and where they lie.
func Log(t testing.TB, dataDir string) (io.Reader, wal.Options) {
	t.Helper()

	var parts []io.Reader
	files := Files(t, dataDir)

	for _, f := range files {
		file, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { _ = file.Close() })
		parts = append(parts, file)
	}

	info, err := os.Stat(files[0])
	if err != nil {
		t.Fatal(err)
	}
	name, segment := filepath.Base(files[0]), uint64(info.Size())

	return io.MultiReader(parts...), wal.Options{SegmentSize: segment, Timelines: []wal.Timeline{{ID: 1}},
		Start: wal.LSN(hex(t, name[8:16])<<32 + hex(t, name[16:])*segment)}
}

// Transactions calls f for what became of each transaction, in the order of the log.
func Transactions(t testing.TB, dataDir string, f func(*wal.Transaction)) {
	t.Helper()
	src, options := Log(t, dataDir)

	r, err := wal.NewReader(src, options)
	if err != nil {
		t.Fatal(err)
	}

	var xacts wal.Transactions
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}

		if err != nil {
			t.Fatal(err)
		}

		step, err := xacts.Add(rec)
		if err != nil {
			t.Fatal(err)
		}

		if step.Transaction != nil {
			f(step.Transaction)
		}
	}
}

func hex(t testing.TB, s string) uint64 {
	t.Helper()

	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}

	return n
}
