package guard_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/guard"
	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/vault"
	"drctl/targets"
	pgfencing "drctl/targets/postgres/fencing"
	redisfencing "drctl/targets/redis/fencing"
)

// The test's binary is guard and watchman too: both are real processes, which are
// killed and stopped.

// The margins around its end are parts of it: a slow machine needs seconds.
const lease = 20 * time.Second

// order is what a guard's process is told.
type order struct {
	Dir, Key, DSN, Data, Redis string
}

func TestMain(m *testing.M) {
	if os.Getenv("GUARD_STANDS") != "" {
		_ = guard.Stand(os.Stdin, epoch.Boot, guard.Kill)
		os.Exit(0)
	}

	if s := os.Getenv("GUARD_RUNS"); s != "" {
		var o order

		err := json.Unmarshal([]byte(s), &o)
		if err == nil {
			err = o.run()
		}

		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}

		os.Exit(0)
	}

	os.Exit(m.Run())
}

func (o order) run() error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()

	g, err := o.guard(ctx, nil)
	if err != nil {
		return err
	}
	watchman := exec.Command(os.Args[0])
	watchman.Env = append(os.Environ(), "GUARD_STANDS=1")

	if g.Watchman, err = guard.StartWatchman(watchman); err != nil {
		return err
	}

	return g.Run(ctx)
}

// cut is a voter that can be cut off.
type cut struct {
	vault.Store
	off *atomic.Bool
}

func (c cut) Put(ctx context.Context, k string, b []byte) error {
	if c.off.Load() {
		return fail.Newf(fail.Unavailable, "put", k, "cut off")
	}

	return c.Store.Put(ctx, k, b)
}

// log opens the group's sequence; off cuts two of the three voters off.
func (o order) log(by string, off *atomic.Bool) (*epoch.Log, error) {
	c, err := o.config(by, off)
	if err != nil {
		return nil, err
	}

	return epoch.Open(c)
}

func (o order) config(by string, off *atomic.Bool) (c epoch.Config, err error) {
	key, err := vault.ParseKey(targets.NewSecret(o.Key))
	if err != nil {
		return c, err
	}

	seal, err := epoch.NewSeal(key, "set-1")
	if err != nil {
		return c, err
	}
	c = epoch.Config{Group: "shop", By: by, Codec: seal, Patience: lease / 3}

	for i, n := range []string{"east", "west", "witness"} {
		s, err := vault.OpenStore(context.Background(), vault.Location{URL: "file://" + filepath.Join(o.Dir, n)})
		if err != nil {
			return c, err
		}

		if off != nil && i > 0 {
			c.Voters = append(c.Voters, epoch.Voter{Name: n, Store: cut{s, off}})
		} else {
			c.Voters = append(c.Voters, epoch.Voter{Name: n, Store: s})
		}
	}

	return c, nil
}

func (o order) guard(ctx context.Context, off *atomic.Bool) (*guard.Guard, error) {
	l, err := o.log("guard", off)
	if err != nil {
		return nil, err
	}
	in := targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "east", DataDir: o.Data}

	pg, err := pgfencing.New(in, func(ctx context.Context) (*pgx.Conn, error) { return pgx.Connect(ctx, o.DSN) })
	if err != nil {
		return nil, err
	}
	in = targets.Instance{Kind: targets.Redis, Shard: targets.ShardID{Target: "carts", Shard: "0"}, Region: "east"}

	redis, err := redisfencing.New(ctx, in, goredis.NewClient(&goredis.Options{Addr: o.Redis, Password: sandboxtest.Password, Protocol: 2, DisableIdentity: true, MaxRetries: -1}))
	if err != nil {
		return nil, err
	}

	return &guard.Guard{Log: l, Region: "east", Name: "host1", Servers: []guard.Server{pg, redis}, Lease: lease,
		Out: slog.New(slog.NewTextHandler(os.Stderr, nil))}, nil
}

// world is a region with a primary and a master, and somebody who writes to both.
type world struct {
	order
	pg, redis targets.Instance
	pgProc    servers.Server
	last      atomic.Int64 // when a write was sent last that was acknowledged, by the machine's clock
	writes    atomic.Int64
	log       *epoch.Log // the other side's
}

func newWorld(t *testing.T) *world {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	w := &world{}
	w.pg = sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &w.pgProc})
	w.redis = sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	w.order = order{Dir: t.TempDir(), Key: key.Secret().Reveal(), DSN: sandboxtest.DSN(w.pg, "shop"), Data: w.pg.DataDir, Redis: w.redis.Address}

	if w.log, err = w.order.log("failover", nil); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(w.log.Close)

	c, err := pgx.Connect(t.Context(), w.DSN)
	if err == nil {
		_, err = c.Exec(t.Context(), "CREATE TABLE written (n serial)")
	}

	if err != nil {
		t.Fatal(err)
	}
	_ = c.Close(t.Context())

	ctx, cancel := context.WithCancel(context.Background())
	var writers sync.WaitGroup
	writers.Go(func() { w.writeRows(ctx) })
	writers.Go(func() { w.writeKeys(ctx) })
	t.Cleanup(func() { cancel(); writers.Wait() })

	return w
}

// ack notes a write by when it was sent: when its client hears of it says nothing.
func (w *world) ack(sent time.Duration) {
	for {
		if last := w.last.Load(); last >= int64(sent) || w.last.CompareAndSwap(last, int64(sent)) {
			break
		}
	}

	w.writes.Add(1)
}

// writeRows writes against the setting, as a client may.
func (w *world) writeRows(ctx context.Context) {
	for ctx.Err() == nil {
		c, err := pgx.Connect(ctx, w.DSN)
		for err == nil {
			sent := epoch.Boot()
			if _, err = c.Exec(ctx, "BEGIN READ WRITE; INSERT INTO written DEFAULT VALUES; COMMIT"); err == nil {
				w.ack(sent)
			}

			time.Sleep(10 * time.Millisecond)
		}

		if c != nil {
			_ = c.Close(ctx)
		}

		time.Sleep(10 * time.Millisecond)
	}
}

func (w *world) writeKeys(ctx context.Context) {
	c := goredis.NewClient(&goredis.Options{Addr: w.Redis, Password: sandboxtest.Password, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ReadTimeout: time.Second})
	defer c.Close()

	for ctx.Err() == nil {
		sent := epoch.Boot()
		if c.Incr(ctx, "n").Err() == nil {
			w.ack(sent)
		}

		time.Sleep(10 * time.Millisecond)
	}
}

// start runs a guard as a process of its own, until it answers for its servers.
func (w *world) start(t *testing.T) *exec.Cmd {
	t.Helper()

	b, _ := json.Marshal(w.order)
	c := exec.Command(os.Args[0])
	c.Env = append(os.Environ(), "GUARD_RUNS="+string(b))
	c.Stdout, c.Stderr = os.Stderr, os.Stderr

	if err := proc.StartChild(c); err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	w.covered(t, 2)

	return c
}

// covered waits until the voters know that the guard answers for n servers.
func (w *world) covered(t *testing.T, n int) {
	t.Helper()

	for {
		st, err := w.log.Read(t.Context())
		if err == nil && len(st.Guards) == 1 && len(st.Guards[0].Instances) == n {
			return
		}

		if t.Context().Err() != nil {
			t.Fatal(err)
		}

		time.Sleep(20 * time.Millisecond)
	}
}

// takeOver claims for the other region and waits; from then on nothing may be written.
func (w *world) takeOver(t *testing.T) {
	t.Helper()

	x, err := w.log.Claim(t.Context(), epoch.Bid{Holder: "west", Run: "test", Lease: lease})
	if err == nil {
		err = x.Wait(t.Context())
	}

	if err != nil {
		t.Fatal(err)
	}
	silent := epoch.Boot()

	if gs := x.Guards(); len(gs) != 1 || !slices.Equal(gs[0].Instances, []string{"carts/0@east", "orders/0@east"}) {
		t.Fatalf("the claimer knows of guards %+v", gs)
	}

	w.gone(t)

	if at := time.Duration(w.last.Load()); at >= silent || w.writes.Load() == 0 {
		t.Fatalf("%d writes, the last %s after the old side was to be silent", w.writes.Load(), at-silent)
	}
}

func (w *world) gone(t *testing.T) {
	t.Helper()

	for _, dir := range []string{w.pg.DataDir, w.redis.DataDir} {
		if ps := proc.In(dir, "postgres", "redis-server"); len(ps) > 0 {
			t.Fatalf("%d processes work in %s", len(ps), dir)
		}
	}
}

// A guard that stands still keeps nobody from killing its servers, and does no
// harm when it wakes up. A server that comes back is not writable.
func TestAGuardThatIsStopped(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.start(t)

	if err := g.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}

	w.takeOver(t)

	if err := g.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}

	p, err := sandboxtest.Tools(t).StartPostgres(t.Context(), servers.PostgresSpec{Dir: w.pg.DataDir, NoWait: true})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })

	for len(proc.In(w.pg.DataDir, "postgres")) > 0 { // at its address or at another one
		time.Sleep(20 * time.Millisecond)
	}

	if st, err := w.log.Read(t.Context()); err != nil || st.Present.Holder != "west" {
		t.Fatalf("the epoch after the guard woke up: %+v, %v", st.Present, err)
	}
}

func TestAGuardThatIsKilled(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.start(t)

	if err := g.Process.Kill(); err != nil {
		t.Fatal(err)
	}

	w.takeOver(t)
}

// One that is to end says so first, and leaves the servers alone.
func TestAGuardThatLeaves(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	g := w.start(t)

	if err := g.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}

	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}

	w.covered(t, 0)

	x, err := w.log.Claim(t.Context(), epoch.Bid{Holder: "west", Lease: lease})
	if err != nil || len(x.Guards()[0].Instances) > 0 {
		t.Fatalf("guards %+v, %v", x.Guards(), err)
	}

	if len(proc.In(w.pg.DataDir, "postgres")) == 0 || len(proc.In(w.redis.DataDir, "redis-server")) == 0 {
		t.Fatal("a server was stopped")
	}
}

// TestPlannedEpochs: a region that was given the group in order is guarded at once, though
// the lease of the one before may run, and one that gets it back loses no server.
func TestPlannedEpochs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)

	give := func(to string) {
		t.Helper()

		if _, err := w.log.Claim(t.Context(), epoch.Bid{Holder: to, Lease: lease, Planned: true}); err != nil {
			t.Fatal(err)
		}
	}
	give("west")
	give("east")

	writes := w.writes.Load()
	w.start(t) // until it answers for both

	give("west")
	give("east")

	for { // until it does so again
		st, err := w.log.Read(t.Context())
		if err == nil && st.Guards[0].Epoch == 4 && len(st.Guards[0].Instances) == 2 {
			break
		}

		if t.Context().Err() != nil {
			t.Fatal(err)
		}

		time.Sleep(20 * time.Millisecond)
	}

	if len(proc.In(w.pg.DataDir, "postgres")) == 0 || len(proc.In(w.redis.DataDir, "redis-server")) == 0 || w.writes.Load() == writes {
		t.Fatal("a server was stopped")
	}
}

// Cut off from a majority, the guard ends its servers before its lease has ended,
// with nobody having claimed.
func TestAGuardThatIsCutOff(t *testing.T) {
	t.Parallel()
	w := newWorld(t)

	var off atomic.Bool

	g, err := w.order.guard(t.Context(), &off)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())

	ended := make(chan error, 1)
	go func() { ended <- g.Run(ctx) }()

	w.covered(t, 2)

	off.Store(true)
	cutAt := epoch.Boot()

	for len(proc.In(w.pg.DataDir, "postgres"))+len(proc.In(w.redis.DataDir, "redis-server")) > 0 {
		time.Sleep(5 * time.Millisecond)
	}

	// What was acknowledged after the longest that a lease could still have been.
	if at := time.Duration(w.last.Load()); at > cutAt+lease {
		t.Fatalf("written %s after the cut, with a lease of %s", at-cutAt, lease)
	}

	cancel()

	if err := <-ended; err != nil {
		t.Fatal(err)
	}
}
