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

	"drctl/internal/barrier"
	"drctl/internal/sandbox/sandboxtest"
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
	return barrier.Options{Group: group, Mode: targets.Gate, Gate: w.shop.Postgres[0].Shard, Attempts: 1, Patience: time.Millisecond, Lease: 10 * time.Minute, Budget: time.Minute}
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

// within is what a lock that nobody holds any more may take to be seen free: much less
// than a lease lasts that is not to be mistaken for it.
const within = 2 * time.Minute

// free waits until nothing is locked on a shard.
func free(t *testing.T, in targets.Instance) {
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
func writeAll(t *testing.T, w *world) time.Duration {
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
	c := startCoordinator(t, w, 10*time.Minute, 9*time.Minute)
	mustBeQuiesced(t, w)

	if err := c.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	t.Logf("writers went on after %s", writeAll(t, w))

	for _, in := range w.shop.Postgres {
		free(t, in)
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
	t.Logf("writers went on after %s of a lease of %s", writeAll(t, w), lease)

	for _, in := range w.shop.Postgres {
		free(t, in)
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
		free(t, in)
	}
}

// A coordinator that is not disturbed takes its cut: the process above fails
// for the reason that it should.
func TestCoordinatorGoesOn(t *testing.T) {
	w := startServers(t, 2)
	w.setup(t)

	c := startCoordinator(t, w, 10*time.Minute, 9*time.Minute)
	if _, err := io.WriteString(c.in, "go on\n"); err != nil {
		t.Fatal(err)
	}

	if line, err := c.out.ReadString('\n'); !strings.HasPrefix(line, "cut ") {
		t.Fatalf("%q (%v)", line, err)
	}

	for _, in := range w.shop.Postgres {
		free(t, in)
	}
}
