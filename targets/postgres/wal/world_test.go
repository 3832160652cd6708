package wal_test

import (
	"context"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres/wal"
)

// A cluster is a real server whose whole log is kept.
type cluster struct {
	tools servers.Binaries
	dir   string
	proc  servers.Server
	in    targets.Instance
}

var settings = map[string]string{"wal_recycle": "off", "wal_keep_size": "8GB", "max_wal_size": "8GB", "track_commit_timestamp": "on",
	"wal_buffers": "64kB", "autovacuum": "off", "full_page_writes": "on", "wal_level": "replica"}

func newCluster(t testing.TB, tools servers.Binaries, segment uint64, more map[string]string) *cluster {
	t.Helper()
	c := &cluster{tools: tools, dir: sandboxtest.NewCluster(t, tools, segment)}
	c.start(t, more)

	return c
}

func (c *cluster) start(t testing.TB, more map[string]string) {
	t.Helper()
	set := maps.Clone(settings)
	maps.Copy(set, more)
	c.in = sandboxtest.Start(t, c.tools, c.dir, sandboxtest.PostgresOptions{Settings: set, Proc: &c.proc})
}

func (c *cluster) stop(t testing.TB) {
	t.Helper()

	if err := c.proc.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
}

func (c *cluster) connect(t testing.TB) *pgx.Conn {
	t.Helper()

	conn, err := pgx.Connect(context.Background(), sandboxtest.DSN(c.in, "postgres"))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	return conn
}

// ask returns the text of the only value of a query.
func ask(t testing.TB, conn *pgx.Conn, sql string, args ...any) (s string) {
	t.Helper()

	if err := conn.QueryRow(context.Background(), sql, args...).Scan(&s); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}

	return s
}

func do(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()

	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func lsn(t testing.TB, s string) wal.LSN {
	t.Helper()

	n, err := targets.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}

	return wal.LSN(n)
}

// A stretch is the bytes of a log and where they lie.
type stretch struct {
	start     wal.LSN
	segment   uint64
	timelines []wal.Timeline
	files     []string
	size      int64
}

// kept returns the whole log of a cluster up to the segment before until; where
// a segment was copied to a newer timeline, that one counts.
func (c *cluster) kept(t testing.TB, until wal.LSN) stretch {
	t.Helper()
	dir := filepath.Join(c.dir, "pg_wal")

	es, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}

	names := map[string]string{}
	newest := uint64(1)

	s := stretch{timelines: []wal.Timeline{{ID: 1}}}
	for _, e := range es {
		if tl, is := strings.CutSuffix(e.Name(), ".history"); is {
			s.timelines = append(s.timelines, wal.Timeline{ID: uint32(hex(t, tl)), Begin: switched(t, filepath.Join(dir, e.Name()))})
		}

		if info, err := e.Info(); err == nil && len(e.Name()) == 24 {
			newest = max(newest, hex(t, e.Name()[:8]))
			s.segment = uint64(info.Size())

			if old := names[e.Name()[8:]]; old < e.Name() {
				names[e.Name()[8:]] = e.Name()
			}
		}
	}

	for i, place := range slices.Sorted(maps.Keys(names)) {
		at := hex(t, place[:8])<<32 + hex(t, place[8:])*s.segment
		if i == 0 {
			s.start = wal.LSN(at)
		}

		if wal.LSN(at) >= until {
			break
		}

		if want := uint64(s.start) + uint64(i)*s.segment; at != want {
			t.Fatalf("segment %s is missing", wal.LSN(want))
		}
		s.files = append(s.files, filepath.Join(dir, names[place]))
		s.size += int64(s.segment)
	}

	return s
}

func hex(t testing.TB, s string) uint64 {
	t.Helper()

	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		t.Fatal(err)
	}

	return n
}

// switched reads from a history file where its timeline left its parent.
func switched(t testing.TB, path string) wal.LSN {
	t.Helper()

	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}

	lines := strings.Split(strings.TrimSpace(string(b)), "\n")

	return lsn(t, strings.Fields(lines[len(lines)-1])[1])
}

// open returns the bytes from a place on.
func (s stretch) open(t testing.TB, at wal.LSN) io.Reader {
	t.Helper()

	var parts []io.Reader
	for i, f := range s.files {
		start := s.start + wal.LSN(uint64(i)*s.segment)
		if start+wal.LSN(s.segment) <= at {
			continue
		}

		file, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { _ = file.Close() })

		if at > start {
			if _, err := file.Seek(int64(at-start), io.SeekStart); err != nil {
				t.Fatal(err)
			}
		}
		parts = append(parts, file)
	}

	return io.MultiReader(parts...)
}

func (s stretch) bytes(t testing.TB) []byte {
	t.Helper()

	b, err := io.ReadAll(s.open(t, s.start))
	if err != nil {
		t.Fatal(err)
	}

	return b
}

func (s stretch) options() wal.Options {
	return wal.Options{Start: s.start, SegmentSize: s.segment, Timelines: s.timelines}
}

// read returns all records up to the end of the log, which must end by itself.
func read(t testing.TB, src io.Reader, o wal.Options) ([]wal.Record, *wal.Reader) {
	t.Helper()

	out, r, err := try(src, o)
	if !errors.Is(err, io.EOF) || !fail.Is(err, fail.NotFound) {
		t.Fatalf("after %d records: %v", len(out), err)
	}

	return out, r
}

func try(src io.Reader, o wal.Options) (out []wal.Record, r *wal.Reader, err error) {
	if r, err = wal.NewReader(src, o); err != nil {
		return nil, nil, err
	}

	for {
		rec, err := r.Next()
		if err != nil {
			return out, r, err
		}
		out = append(out, rec)
	}
}

// ended is what a reader of transactions found.
type ended struct {
	transactions []wal.Transaction
	messages     []wal.Message
	overwritten  int
	knows        wal.LSN
	known        bool
}

func decided(t testing.TB, src io.Reader, o wal.Options) (e ended) {
	t.Helper()

	r, err := wal.NewReader(src, o)
	if err != nil {
		t.Fatal(err)
	}

	var x wal.Transactions
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			e.knows, e.known = x.KnowsFrom()
			return e
		}

		if err != nil {
			t.Fatal(err)
		}

		if rec.Kind == wal.Overwrite {
			e.overwritten++
		}

		step, err := x.Add(rec)
		if err != nil {
			t.Fatal(err)
		}

		if step.Transaction != nil {
			e.transactions = append(e.transactions, *step.Transaction)
		}

		if step.Message != nil {
			e.messages = append(e.messages, *step.Message)
		}
	}
}

// finish ends the segment and returns the log up to there.
func (c *cluster) finish(t testing.TB) stretch {
	t.Helper()
	conn := c.connect(t)
	do(t, conn, "CREATE TABLE IF NOT EXISTS last (a int)")
	do(t, conn, "INSERT INTO last VALUES (1)")
	until := lsn(t, ask(t, conn, "SELECT pg_switch_wal()::text"))
	do(t, conn, "INSERT INTO last VALUES (1)") // waits until the switch is written

	return c.kept(t, until)
}
