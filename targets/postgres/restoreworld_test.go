package postgres_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

// world is a primary under load with its archive and store.
type world struct {
	d    *postgres.Driver
	log  *logBuffer
	in   targets.Instance
	c    *pgx.Conn
	a    *archive
	s    *store
	id   string
	dir  string
	stop func() error
}

func newWorld(t *testing.T, o sandboxtest.PostgresOptions) *world {
	t.Helper()
	w := &world{}
	w.d, w.log = driver(t)
	w.in = sandboxtest.Postgres(t, o)
	w.c = open(t, w.in)
	run(t, w.c, "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)")
	run(t, w.c, "INSERT INTO account SELECT g, 100 FROM generate_series(1, 100) g")
	run(t, w.c, "CREATE TABLE journal (n bigserial PRIMARY KEY, at timestamptz DEFAULT clock_timestamp())")
	w.a = newArchive()
	w.s = newStore(t, w.a)
	w.id = timelineOf(t, w.d, w.in)
	w.stop = follow(t, w.d, w.in, w.a)
	w.a.reach(t, w.id, lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text"))
	w.dir = sandboxtest.Dir(t)

	return w
}

// load moves money and counts until it is stopped; it returns the highest
// journal number that was acknowledged.
func (w *world) load(t *testing.T) (stop func() int64) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	var mu sync.Mutex

	var top int64
	for i := range 2 {
		c := open(t, w.in)
		wg.Go(func() {
			for k := i; ctx.Err() == nil; k += 7 {
				var n int64

				err := c.QueryRow(context.Background(), `WITH a AS (UPDATE account SET balance = balance - 1 WHERE id = $1 RETURNING 1),
b AS (UPDATE account SET balance = balance + 1 WHERE id = $2 RETURNING 1) INSERT INTO journal DEFAULT VALUES RETURNING n`, k%50+1, k%50+51).Scan(&n)
				if err != nil {
					return
				}

				mu.Lock()
				top = max(top, n)

				mu.Unlock()
				time.Sleep(time.Millisecond)
			}
		})
	}

	return func() int64 { cancel(); wg.Wait(); mu.Lock(); defer mu.Unlock(); return top }
}

func (w *world) base(t *testing.T, in targets.Instance, id string) targets.Artifact {
	t.Helper()

	a, err := w.d.Base(ctxFor(t, 2*time.Minute), in, targets.BaseRequest{ID: id}, w.s)
	if err != nil {
		t.Fatal(err)
	}

	return a
}

// request asks for a restore of the base to a point on its own timeline.
func (w *world) request(base targets.Artifact, at targets.Position) targets.RestoreRequest {
	return targets.RestoreRequest{Base: base, Point: at, WorkDir: filepath.Join(w.dir, "work"),
		Path: []targets.Span{{Timeline: base.From.Timeline, From: base.From.Offset, To: at.Offset}}}
}

func (w *world) sandbox() targets.Instance {
	in := w.in
	in.Role, in.Address, in.DataDir = targets.Sandbox, "", filepath.Join(w.dir, "data")

	return in
}

// restore restores into a sandbox and connects to it.
func (w *world) restore(t *testing.T, req targets.RestoreRequest) (targets.Instance, targets.Outcome) {
	t.Helper()
	in := w.sandbox()

	out, err := w.d.Restore(ctxFor(t, 2*time.Minute), in, req, w.s)
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { stopPid(t, out.Pid) })
	in.Address, in.User, in.Password, in.Database = out.Address, out.User, out.Password, out.Database

	return in, out
}

// stopPid ends a sandbox's server.
func stopPid(t *testing.T, pid int) {
	t.Helper()

	id, err := proc.Of(pid)
	if err != nil {
		return
	}
	_ = id.Kill()
}

func sandboxOpen(t *testing.T, in targets.Instance) *pgx.Conn {
	t.Helper()

	if in.Database == "" || in.Password.IsZero() || in.Address == "" {
		t.Fatalf("the outcome does not lead to the sandbox: %+v", in)
	}

	c, err := pgx.Connect(context.Background(), fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", in.User, in.Password.Reveal(), in.Address, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Close(context.Background()) })

	return c
}

// exact checks that the sandbox holds what was acknowledged before the cut
// and nothing that was begun after it.
func exact(t *testing.T, c *pgx.Conn, before int64, after int64) {
	t.Helper()

	if got := value[int64](t, c, "SELECT max(n) FROM journal"); got < before || got >= after {
		t.Fatalf("the newest entry is %d, want %d to %d", got, before, after-1)
	}

	if sum := value[int](t, c, "SELECT sum(balance)::int FROM account"); sum != 10000 {
		t.Fatalf("the balances sum to %d", sum)
	}
}
