package activities_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/activities"
	"drctl/internal/barrier"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres"
)

// quiesceCut runs the activity with little patience.
func quiesceCut(w *world, attempts int) (targets.Cut, error) {
	p := policy(targets.Gate)
	p.Attempts, p.Budget, p.Lease = attempts, 20*time.Second, time.Minute

	return execute[targets.Cut](w.activities(resolver{w, p}), activities.QuiesceCutName, activities.GroupIn{Group: group}, nil)
}

// wantFault checks the error and that nothing is locked on the shards that live.
func wantFault(t *testing.T, w *world, err error, code fail.Code, parts ...string) {
	t.Helper()

	if !fail.Is(err, code) {
		t.Errorf("code %q, want %q: %v", fail.CodeOf(err), code, err)
	}

	for _, p := range parts {
		if err == nil || !strings.Contains(err.Error(), p) {
			t.Errorf("the error does not name %q: %v", p, err)
		}
	}

	for i, in := range w.shop.Postgres {
		if w.procs[i].Alive() {
			free(t, in)
		}
	}
}

func TestShardDown(t *testing.T) {
	w := startServers(t, 3)
	w.vault(t)
	w.setup(t)

	if err := w.procs[1].Kill(); err != nil {
		t.Fatal(err)
	}
	_, err := quiesceCut(w, 5)
	wantFault(t, w, err, fail.Unavailable, w.shop.Postgres[1].String())
}

func TestShardDiesInTheMiddle(t *testing.T) {
	w := startServers(t, 3)
	w.vault(t)
	w.setup(t)
	kill := sync.OnceFunc(func() {
		mustBeQuiesced(t, w)

		if err := w.procs[1].Kill(); err != nil {
			t.Error(err)
		}
	})
	opt := options(w)
	opt.Budget = 20 * time.Second
	cut, err := barrier.Take(t.Context(), halt(w, kill), opt)
	wantFault(t, w, err, fail.Unavailable, w.shop.Postgres[1].String())

	if err == nil {
		t.Errorf("a cut without a shard: %+v", cut)
	}
}

// hold runs a transaction in the background of a test and returns its pid.
func hold(t *testing.T, in targets.Instance, sql string) (pid int, end func()) {
	t.Helper()

	c := connect(t, in)
	if _, err := c.PgConn().Exec(t.Context(), sql).ReadAll(); err != nil {
		t.Fatal(err)
	}

	return int(c.PgConn().PID()), func() { _ = c.Close(context.Background()) }
}

// Whoever is in the way is named by shard and pid, and the barrier leaves nothing.
func TestSomebodyInTheWay(t *testing.T) {
	w := startServers(t, 3)
	w.vault(t)
	w.setup(t)

	second := w.shop.Postgres[1]
	for name, c := range map[string]struct {
		in  targets.Instance
		sql string
		age time.Duration
	}{
		"a young transaction that never ends": {second, "BEGIN; UPDATE accounts SET balance = balance WHERE id = 2", 0},
		"a long transaction":                  {second, "BEGIN; UPDATE accounts SET balance = balance WHERE id = 2", 400 * time.Millisecond},
		"a lock":                              {second, "BEGIN; LOCK TABLE stock IN EXCLUSIVE MODE", 0},
		"the gate":                            {w.shop.Postgres[0], "SELECT pg_advisory_lock_shared(hashtextextended('drctl/gate/shop', 0))", 0},
	} {
		t.Run(name, func(t *testing.T) {
			pid, end := hold(t, c.in, c.sql)
			time.Sleep(c.age)
			_, err := takeImpatiently(t, w)

			end()
			wantFault(t, w, err, fail.Stalled, c.in.String(), fmt.Sprintf("pid %d", pid))

			opt := options(w)
			opt.Attempts, opt.Patience = 8, time.Minute

			if _, err := barrier.Take(t.Context(), parties(w, postgres.New(postgres.Options{})), opt); err != nil {
				t.Errorf("a cut after it was gone: %v", err)
			}
		})
	}
}

// takeImpatiently is QuiesceCut without the 20 s in which it waits for a busy member.
func takeImpatiently(t *testing.T, w *world) (targets.Cut, error) {
	t.Helper()
	opt := options(w)
	opt.Attempts, opt.Budget, opt.Patience = 8, 200*time.Millisecond, 300*time.Millisecond

	for end := time.Now().Add(2 * time.Minute); ; {
		cut, err := barrier.Take(t.Context(), parties(w, postgres.New(postgres.Options{})), opt)
		if err == nil || !strings.Contains(err.Error(), "a round trip takes") || time.Now().After(end) { // which it does on a slow machine
			return cut, err
		}
	}
}

// crashing is a quiescer whose server crashes, once, when everything has been
// released and before the mark is made durable.
type crashing struct {
	targets.Quiescer
	crash func(marked targets.Position) error
}

type crashed struct {
	targets.Member
	at    targets.Position
	crash func(marked targets.Position) error
}

func (c crashing) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	m, err := c.Quiescer.Join(ctx, in, req)
	if err != nil {
		return nil, err
	}

	return &crashed{Member: m, crash: c.crash}, nil
}

func (c *crashed) Mark(ctx context.Context) (at targets.Position, err error) {
	c.at, err = c.Member.Mark(ctx)
	return c.at, err
}

func (c *crashed) Settle(ctx context.Context) error {
	if err := c.crash(c.at); err != nil {
		return err
	}

	return c.Member.Settle(ctx)
}

// A server that crashes between a mark and its flush comes back without the
// mark and writes other bytes over its place. What is sealed then can be
// restored all the same: the lost mark is no cut.
func TestServerCrashesBeforeTheMarkIsFlushed(t *testing.T) {
	w := &world{instances: map[targets.ShardID]targets.Instance{}, tools: sandboxtest.Tools(t), dir: sandboxtest.Dir(t)}
	w.shop.Group = group
	proc := &servers.Server{}
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: proc, Settings: map[string]string{"wal_writer_delay": "10s"}})
	w.shop.Postgres = []targets.Instance{in}
	w.add(in, proc)
	w.vault(t)
	pol := policy(targets.Gate)
	pol.Vaults, pol.Durability = []string{"east"}, 1

	a := w.activities(resolver{w, pol})
	defer w.followAgain(a, in.Shard)()

	if _, err := execute[activities.BaseOut](a, activities.TakeBaseName, activities.BaseIn{Shard: in.Shard, ID: "early"}, nil); err != nil {
		t.Fatal(err)
	}

	var lost targets.Position

	fencing := w.activities(resolver{w, pol})
	fencing.Drivers[targets.Postgres] = struct {
		targets.Driver
		targets.Quiescer
	}{a.Drivers[targets.Postgres], crashing{a.Drivers[targets.Postgres].(targets.Quiescer), func(at targets.Position) (err error) {
		if lost.Offset == 0 {
			if err = crashServer(t, in, at); err == nil {
				lost = at
			}
		}

		return err
	}}}

	cut, err := execute[targets.Cut](fencing, activities.QuiesceCutName, activities.GroupIn{Group: group}, nil)
	if err != nil {
		t.Fatal(err)
	}
	// Traffic takes the log past the place of the lost mark.
	c := connect(t, in)
	if _, err := c.Exec(t.Context(), "CREATE TABLE later AS SELECT g, repeat('x', 500) FROM generate_series(1, 1000) g"); err != nil {
		t.Fatal(err)
	}

	if cut.ID == strings.TrimPrefix(lost.RestorePoint, "drctl:") {
		t.Errorf("the cut %s is the one whose mark was lost", cut.ID)
	}

	cut, err = finish(a, cut)
	if err != nil {
		t.Fatal(err)
	}
	r, err := w.recover(w.set.Vaults[0], cut.ID, nil, "box")
	w.discard(t, r)

	if err != nil {
		t.Fatalf("the sealed cut %s cannot be restored: %v", cut.ID, err)
	}
}

// followAgain runs an archiver that comes back when its server went away, as the
// engine sees to.
func (w *world) followAgain(a *activities.Activities, shard targets.ShardID) (stop func()) {
	ch := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			_, _ = execute[activities.FollowOut](a, activities.FollowShardName, activities.FollowIn{Shard: shard}, ch)
			select {
			case <-ch:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})

	return func() { close(ch); wg.Wait() }
}

// crashServer makes the server restart after a crash, as it does when the
// kernel kills one of its processes, and waits until it answers again.
// It fails when the mark is flushed already, as it may be after seconds.
func crashServer(t *testing.T, in targets.Instance, marked targets.Position) error {
	c := connect(t, in)

	var flushed string
	if err := c.QueryRow(t.Context(), "SELECT pg_current_wal_flush_lsn()").Scan(&flushed); err != nil {
		t.Error(err)
	}

	if at, err := targets.ParseLSN(flushed); err != nil || at >= marked.Offset {
		return fail.Newf(fail.Unavailable, "crash", in.String(), "the mark at %s is flushed (%s, %v): nothing can be lost", targets.FormatLSN(marked.Offset), flushed, err)
	}

	if err := syscall.Kill(int(c.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Error(err)
	}

	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
		if err != nil {
			continue
		}
		var up bool
		err = n.QueryRow(t.Context(), "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT pg_is_in_recovery()").Scan(&up)
		_ = n.Close(context.Background())

		if err == nil && up {
			return nil
		}
	}

	t.Error("the server did not come back")

	return nil
}
