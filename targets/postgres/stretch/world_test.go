package stretch_test

import (
	"context"
	"fmt"
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
	"drctl/targets/postgres/wal/waltest"
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

// source is the server's log between two places with all that was observed.
func (s *server) source(t testing.TB, from, to wal.LSN) stretch.Source {
	t.Helper()
	src := stretch.Source{Shard: s.in.Shard, Timeline: "1", From: from, To: to, Observations: s.seen}
	src.Log, src.Options = waltest.Log(t, s.dir)

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
	waltest.Transactions(t, s.dir, func(x *wal.Transaction) {
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

func do(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()

	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

func tag(id string, n int) string {
	return fmt.Sprintf("SELECT pg_logical_emit_message(true, 'drctl/global', '%s/%d')", id, n)
}
