package wal_test

import (
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/postgres/wal"
)

// BenchmarkReader reads a log of small records, and of full pages, for what a
// proof needs, checksums included, and says how many times longer pg_waldump -q
// takes:
//
//	go test ./targets/postgres/wal -run '^$' -bench Reader
func BenchmarkReader(b *testing.B) {
	c := newCluster(b, sandboxtest.Tools(b), 16<<20, nil)
	conn := c.connect(b)
	do(b, conn, "CREATE TABLE load (a int PRIMARY KEY, b text)")
	do(b, conn, "CHECKPOINT")

	for name, sql := range map[string]string{
		"small": "INSERT INTO load SELECT g, 'y' FROM generate_series(1, 700000) g",
		"pages": "INSERT INTO load SELECT g, repeat('z', 2000) FROM generate_series(1000000, 1050000) g",
	} {
		from := lsn(b, ask(b, conn, "SELECT pg_switch_wal()::text"))
		do(b, conn, sql)
		s := c.finish(b)

		for s.start+wal.LSN(s.segment) <= from { // only what this statement wrote
			s.start, s.files, s.size = s.start+wal.LSN(s.segment), s.files[1:], s.size-int64(s.segment)
		}

		b.Run(name, func(b *testing.B) {
			b.SetBytes(s.size)

			records := 0
			for b.Loop() {
				o := s.options()
				o.All = true

				r, err := wal.NewReader(s.open(b, s.start), o)
				if err != nil {
					b.Fatal(err)
				}

				for records = 0; err == nil; records++ {
					_, err = r.Next()
				}

				if !errors.Is(err, io.EOF) {
					b.Fatal(err)
				}
			}
			each := b.Elapsed() / time.Duration(b.N)
			b.ReportMetric(waldumpTime(b, s).Seconds()/each.Seconds(), "x-pg_waldump")
		})
	}
}

// waldumpTime is how long pg_waldump takes to read a stretch and print nothing.
func waldumpTime(b *testing.B, s stretch) time.Duration {
	b.Helper()

	program, err := sandboxtest.Tools(b).PG("pg_waldump")
	if err != nil {
		b.Fatal(err)
	}

	best := time.Hour
	for range 3 {
		begin := time.Now()
		_ = exec.Command(program, "-q", s.files[0], filepath.Base(s.files[len(s.files)-1])).Run() // it ends with an error where the log ends
		best = min(best, time.Since(begin))
	}

	return best
}
