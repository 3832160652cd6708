package activities_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
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

// coordinatorEnv makes the test binary a coordinator that can be killed.
const coordinatorEnv = "DRCTL_TEST_COORDINATOR"

func TestMain(m *testing.M) {
	if os.Getenv(coordinatorEnv) != "" {
		coordinate(os.Stdin, os.Stdout)
		return
	}
	os.Exit(m.Run())
}

// order is what a coordinator process is told on its standard input.
type order struct {
	Addresses     []string
	User, Word    string
	Lease, Budget time.Duration
}

// halting is a quiescer that stops when every shard is locked: all calls of
// locked come before the first position is named.
type halting struct {
	targets.Quiescer
	arrived *sync.WaitGroup
	locked  func() // called once by each member, after all have arrived
}

type halted struct {
	targets.Member
	halting
}

func (h halting) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	m, err := h.Quiescer.Join(ctx, in, req)
	if err != nil {
		return nil, err
	}
	return halted{m, h}, nil
}

func (h halted) Mark(ctx context.Context) (targets.Position, error) {
	h.arrived.Done()
	h.arrived.Wait()
	h.locked()
	return h.Member.Mark(ctx)
}

func parties(w *world, f targets.Quiescer) (ps []barrier.Party) {
	for _, in := range w.shop.Postgres {
		ps = append(ps, barrier.Party{Quiescer: f, Instance: in})
	}
	return ps
}

// halt makes parties of all shards that call locked when everything is locked.
func halt(w *world, locked func()) []barrier.Party {
	h := halting{Quiescer: postgres.New(postgres.Options{}), arrived: &sync.WaitGroup{}, locked: locked}
	h.arrived.Add(len(w.shop.Postgres))
	return parties(w, h)
}

// options have a lease so long that no test can mistake its end for a release.
func options(w *world) barrier.Options {
	return barrier.Options{Group: group, Mode: targets.Gate, Gate: w.shop.Postgres[0].Shard, Attempts: 1, Patience: time.Millisecond, Lease: time.Minute}
}

// coordinate takes a cut, says "locked" when every shard is, and goes on when
// it is told to; then it says what became of it.
func coordinate(in io.Reader, out io.Writer) {
	lines := bufio.NewReader(in)
	var o order
	first, err := lines.ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(first, &o)
	}
	if err != nil {
		fmt.Fprintln(out, "bad order:", err)
		return
	}
	w := &world{}
	for i, a := range o.Addresses {
		w.shop.Postgres = append(w.shop.Postgres, targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: fmt.Sprint(i)},
			Region: "east", Role: targets.Primary, Address: a, User: o.User, Password: targets.NewSecret(o.Word), Database: "shop"})
	}
	wait := sync.OnceFunc(func() {
		fmt.Fprintln(out, "locked")
		_, _ = lines.ReadString('\n')
	})
	opt := options(w)
	opt.Lease, opt.Budget = o.Lease, o.Budget
	cut, err := barrier.Take(context.Background(), halt(w, wait), opt)
	if err != nil {
		fmt.Fprintln(out, "error:", err)
		return
	}
	fmt.Fprintln(out, "cut", cut.ID)
}

// coordinator is a process that holds the barrier on every shard.
type coordinator struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startCoordinator(t *testing.T, w *world, lease, budget time.Duration) *coordinator {
	t.Helper()
	c := &coordinator{cmd: exec.Command(os.Args[0])}
	c.cmd.Env = append(os.Environ(), coordinatorEnv+"=1")
	c.cmd.Stderr = os.Stderr
	var err error
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.cmd.Process.Kill(); _ = c.cmd.Wait() })
	o := order{User: w.shop.Postgres[0].User, Word: w.shop.Postgres[0].Password.Reveal(), Lease: lease, Budget: budget}
	for _, in := range w.shop.Postgres {
		o.Addresses = append(o.Addresses, in.Address)
	}
	if err := json.NewEncoder(c.in).Encode(o); err != nil {
		t.Fatal(err)
	}
	if line, err := c.out.ReadString('\n'); line != "locked\n" {
		t.Fatalf("the coordinator says %q (%v)", line, err)
	}
	return c
}

func connect(t *testing.T, in targets.Instance) *pgx.Conn {
	t.Helper()
	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close(context.Background()) })
	return c
}

// held lists the relation and advisory locks of all other sessions of the
// database, granted or waited for.
func held(t *testing.T, in targets.Instance) []string {
	t.Helper()
	c := connect(t, in)
	defer c.Close(context.Background())
	rows, err := c.Query(t.Context(), `SELECT format('%s %s %s of pid %s (%s)', l.locktype, l.mode, l.relation::regclass, l.pid, a.application_name)
FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
WHERE l.locktype IN ('relation', 'advisory') AND l.pid <> pg_backend_pid() AND a.backend_type IS DISTINCT FROM 'autovacuum worker'
AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
	if err != nil {
		t.Fatal(err)
	}
	locks, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return locks
}

// free waits until nothing is locked on a shard.
func free(t *testing.T, in targets.Instance, within time.Duration) {
	t.Helper()
	var locks []string
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if locks = held(t, in); len(locks) == 0 {
			return
		}
	}
	t.Errorf("%s: still locked after %s: %v", in, within, locks)
}

// writeAll writes on every shard, through the gate, and returns how long the
// slowest waited. A write that does not get through in time fails the test.
func writeAll(t *testing.T, w *world, within time.Duration) time.Duration {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	begin := time.Now()
	gate := connect(t, w.shop.Postgres[0])
	defer gate.Close(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := gate.Exec(ctx, "SELECT pg_advisory_xact_lock_shared(hashtextextended($1, 0))", postgres.GateKey(group)); err != nil {
			t.Errorf("the gate: %v", err)
		}
	})
	for _, in := range w.shop.Postgres {
		c := connect(t, in)
		defer c.Close(context.Background())
		wg.Go(func() {
			if _, err := c.Exec(ctx, "UPDATE accounts SET balance = balance WHERE id = 1"); err != nil {
				t.Errorf("a write on %s: %v", in, err)
			}
		})
	}
	wg.Wait()
	return time.Since(begin)
}

// mustBeQuiesced proves that there is something to let go of.
func mustBeQuiesced(t *testing.T, w *world) {
	t.Helper()
	for i, in := range w.shop.Postgres {
		locks := strings.Join(held(t, in), "; ")
		if !strings.Contains(locks, "ShareLock accounts") || i == 0 && !strings.Contains(locks, "advisory ExclusiveLock") {
			t.Fatalf("%s is not quiesced: %s", in, locks)
		}
	}
}

// A coordinator that is killed leaves nothing behind, long before its lease ends.
func TestCoordinatorKilled(t *testing.T) {
	w := startServers(t, 3)
	w.setup(t)
	c := startCoordinator(t, w, time.Minute, 50*time.Second)
	mustBeQuiesced(t, w)
	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	t.Logf("writers went on after %s", writeAll(t, w, 10*time.Second))
	for _, in := range w.shop.Postgres {
		free(t, in, 3*time.Second)
	}
}

// A coordinator that is frozen (or cut off: its sockets stay open and silent)
// loses the barrier when the lease ends, by the servers' clocks. When it thaws,
// what it holds for a barrier does not become a cut.
func TestCoordinatorFrozen(t *testing.T) {
	w := startServers(t, 3)
	w.setup(t)
	const lease = 2 * time.Second
	c := startCoordinator(t, w, lease, lease)
	if err := c.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	mustBeQuiesced(t, w)
	t.Logf("writers went on after %s of a lease of %s", writeAll(t, w, lease+5*time.Second), lease)
	for _, in := range w.shop.Postgres {
		free(t, in, 3*time.Second)
	}
	if err := c.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(c.in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	line, err := c.out.ReadString('\n')
	if !strings.HasPrefix(line, "error: ") {
		t.Fatalf("the thawed coordinator says %q (%v)", line, err)
	}
	t.Log(line)
	for _, in := range w.shop.Postgres {
		free(t, in, 3*time.Second)
	}
}

// A coordinator that is not disturbed takes its cut: the process above fails
// for the reason that it should.
func TestCoordinatorGoesOn(t *testing.T) {
	w := startServers(t, 2)
	w.setup(t)
	c := startCoordinator(t, w, time.Minute, 50*time.Second)
	if _, err := io.WriteString(c.in, "go on\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := c.out.ReadString('\n'); !strings.HasPrefix(line, "cut ") {
		t.Fatalf("%q (%v)", line, err)
	}
	for _, in := range w.shop.Postgres {
		free(t, in, 3*time.Second)
	}
}

// quiesceCut runs the activity with little patience.
func quiesceCut(w *world, attempts int) (targets.Cut, error) {
	p := policy(targets.Gate)
	p.Attempts, p.Budget, p.Lease = attempts, 200*time.Millisecond, time.Minute
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
			free(t, in, 3*time.Second)
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
			if _, err := takeImpatiently(t, w); err != nil {
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
	return barrier.Take(t.Context(), parties(w, postgres.New(postgres.Options{})), opt)
}

// crashing is a quiescer whose server crashes, once, when everything has been
// released and before the mark is made durable.
type crashing struct {
	targets.Quiescer
	crash func(marked targets.Position)
}

type crashed struct {
	targets.Member
	at    targets.Position
	crash func(marked targets.Position)
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
	c.crash(c.at)
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
	var once sync.Once
	fencing := w.activities(resolver{w, pol})
	fencing.Drivers[targets.Postgres] = struct {
		targets.Driver
		targets.Quiescer
	}{a.Drivers[targets.Postgres], crashing{a.Drivers[targets.Postgres].(targets.Quiescer), func(at targets.Position) {
		once.Do(func() { lost = at; crashServer(t, in, at) })
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
func crashServer(t *testing.T, in targets.Instance, marked targets.Position) {
	c := connect(t, in)
	var flushed string
	if err := c.QueryRow(t.Context(), "SELECT pg_current_wal_flush_lsn()").Scan(&flushed); err != nil {
		t.Error(err)
	}
	if at, err := targets.ParseLSN(flushed); err != nil || at >= marked.Offset {
		t.Errorf("the mark at %s is flushed (%s, %v): nothing can be lost", targets.FormatLSN(marked.Offset), flushed, err)
	}
	if err := syscall.Kill(int(c.PgConn().PID()), syscall.SIGKILL); err != nil {
		t.Error(err)
	}
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		n, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
		if err != nil {
			continue
		}
		var up bool
		err = n.QueryRow(t.Context(), "SELECT pg_postmaster_start_time() IS NOT NULL AND NOT pg_is_in_recovery()").Scan(&up)
		_ = n.Close(context.Background())
		if err == nil && up {
			return
		}
	}
	t.Error("the server did not come back")
}
