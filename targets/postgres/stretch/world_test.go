package stretch_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/observation"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres/observe"
	"drctl/targets/postgres/stretch"
	"drctl/targets/postgres/wal"
)

const segment = 16 << 20

// A server is a real one whose whole log is kept, and that is being observed.
type server struct {
	in   targets.Instance
	dir  string
	base string // a copy from before the clients came

	mu   sync.Mutex
	seen []stretch.Observation
}

func newServer(t testing.TB, shard string, more map[string]string) *server {
	t.Helper()
	tools := sandboxtest.Tools(t)

	set := map[string]string{"wal_recycle": "off", "wal_keep_size": "4GB", "max_wal_size": "4GB", "autovacuum": "off"}
	for k, v := range more {
		set[k] = v
	}
	dir := sandboxtest.NewCluster(t, tools, segment)

	return &server{dir: dir, in: sandboxtest.Start(t, tools, dir, sandboxtest.PostgresOptions{Shard: shard, Settings: set})}
}

func (s *server) open(ctx context.Context) (*pgx.Conn, error) {
	return pgx.Connect(ctx, sandboxtest.DSN(s.in, "postgres"))
}

func (s *server) connect(t testing.TB) *pgx.Conn {
	t.Helper()

	conn, err := s.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	return conn
}

// session is one that observes.
func session(t testing.TB, conn *pgx.Conn) *observe.Session {
	t.Helper()

	s, err := observe.Open(context.Background(), conn, "the server")
	if err != nil {
		t.Fatal(err)
	}

	return s
}

// observed asks the server once, and remembers the answer.
func (s *server) observed(t testing.TB, o *observation.Observer, conn *observe.Session) stretch.Observation {
	t.Helper()

	seen, err := conn.Observe(context.Background(), o)
	if err != nil {
		t.Error(err)
	}
	one := stretch.Observation{Sample: seen.Sample, Timeline: 1, Flush: wal.LSN(seen.Flushed), Insert: wal.LSN(seen.Inserted)}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.seen = append(s.seen, one)

	return one
}

// watch observes the server until the context ends.
func (s *server) watch(ctx context.Context, t testing.TB, o *observation.Observer, conn *observe.Session, every time.Duration) {
	for ctx.Err() == nil {
		s.observed(t, o, conn)

		select {
		case <-ctx.Done():
		case <-time.After(every):
		}
	}
}

// log is the bytes of the log from its first segment on.
func (s *server) log(t testing.TB) (io.Reader, wal.Options) {
	t.Helper()

	files, err := filepath.Glob(filepath.Join(s.dir, "pg_wal", "????????????????????????"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no log in %s: %v", s.dir, err)
	}

	slices.Sort(files)

	var parts []io.Reader
	for _, f := range files {
		file, err := os.Open(f)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { _ = file.Close() })
		parts = append(parts, file)
	}
	name := filepath.Base(files[0])

	return io.MultiReader(parts...), wal.Options{SegmentSize: segment, Timelines: []wal.Timeline{{ID: 1}},
		Start: wal.LSN(number(t, name[8:16])<<32 + number(t, name[16:])*segment)}
}

func number(t testing.TB, hex string) uint64 {
	t.Helper()

	n, err := strconv.ParseUint(hex, 16, 64)
	if err != nil {
		t.Fatal(err)
	}

	return n
}

// source is the server's log between two places with all that was observed.
func (s *server) source(t testing.TB, from, to wal.LSN) stretch.Source {
	t.Helper()
	src := stretch.Source{Shard: s.in.Shard, Timeline: "1", From: from, To: to, Observations: s.seen}
	src.Log, src.Options = s.log(t)

	return src
}

// place is what became of a transaction, by its place in the log.
type place struct {
	prepared, decided uint64 // where those records begin; 0 if there is none
	outcome           wal.Outcome
}

// places reads the whole log by itself.
func (s *server) places(t testing.TB) map[uint32]place {
	t.Helper()
	all := map[uint32]place{}
	s.each(t, func(x *wal.Transaction) {
		p := all[x.XID]
		if x.Outcome == wal.Prepared {
			p.prepared = uint64(x.Start)
		} else {
			p.decided = uint64(x.Start)
		}
		p.outcome = x.Outcome
		all[x.XID] = p
	})

	return all
}

func (s *server) each(t testing.TB, f func(*wal.Transaction)) {
	t.Helper()
	src, options := s.log(t)

	r, err := wal.NewReader(src, options)
	if err != nil {
		t.Fatal(err)
	}

	var xacts wal.Transactions
	for {
		rec, err := r.Next()
		if isEnd(err) {
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

func do(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()

	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func tag(id string, n int) string {
	return fmt.Sprintf("SELECT pg_logical_emit_message(true, 'drctl/global', '%s/%d')", id, n)
}
