package watch

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof/clock"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/redis"
)

// world is a group with its vaults, in which primaries can be moved.
type world struct {
	t   *testing.T
	set vault.Set

	mu        sync.Mutex
	primaries map[targets.ShardID]targets.Instance
}

func newWorld(t *testing.T, regions ...string) *world {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, primaries: map[targets.ShardID]targets.Instance{}}

	for _, r := range regions {
		v, err := vault.Init(t.Context(), vault.Options{Region: r, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "v")},
			Key: key, Set: "11111111-2222-3333-4444-555555555555"})
		if err != nil {
			t.Fatal(err)
		}
		w.set.Vaults = append(w.set.Vaults, v)
	}

	return w
}

// primary makes an instance that of its shard.
func (w *world) primary(in targets.Instance) targets.Instance {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.primaries[in.Shard] = in

	return in
}

func (w *world) resolve(_ context.Context, shard targets.ShardID) (targets.Instance, observation.Observable, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	in, ok := w.primaries[shard]

	switch {
	case !ok:
		return in, nil, errors.New("there is no primary")
	case in.Kind == targets.Redis:
		return in, redis.New(redis.Options{}), nil
	}

	return in, postgres.New(postgres.Options{}), nil
}

func (w *world) options() Options {
	o := Options{Group: "shop", Queue: "here", Resolve: w.resolve, Vaults: func(context.Context) (vault.Set, error) { return w.set, nil }}

	w.mu.Lock()
	defer w.mu.Unlock()

	for _, in := range w.primaries {
		o.Shards = append(o.Shards, Shard{Shard: in.Shard, Kind: in.Kind})
	}

	return o
}

// watch observes until the test ends, and returns when all shards are observed.
func (w *world) watch() *Watcher {
	w.t.Helper()
	x := New(w.options())
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})

	go func() { defer close(done); x.Run(ctx) }()

	w.t.Cleanup(func() { stop(); <-done })

	return x
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("this never came: " + what)
		}
	}
}

// whole takes a burst that sees all shards. A server that is slow to answer is missing,
// and then there is another one.
func whole(t *testing.T, x *Watcher, o BurstOptions) (b Burst) {
	t.Helper()

	until(t, "a burst sees all shards", func() bool {
		var err error
		if b, err = x.Burst(t.Context(), o); err != nil {
			t.Fatal(err)
		}

		return b.PauseErr == nil && len(b.Missing) == 0
	})

	return b
}

func observed(t *testing.T, x *Watcher) {
	t.Helper()
	until(t, "all shards are observed", func() bool { return len(x.State().Failing) == 0 })
}

// stored are all observations of a shard in a vault, by the run of its server.
func stored(t *testing.T, v *vault.Vault, shard targets.ShardID) (servers []string, seen map[string][]observation.Observation) {
	t.Helper()

	bs, damaged, err := batches.Read(t.Context(), v, "shop", time.Now().Add(-time.Hour), time.Now().Add(time.Minute))
	if err != nil || len(damaged) > 0 {
		t.Fatal(damaged, err)
	}
	seen = map[string][]observation.Observation{}

	for _, b := range bs {
		for _, s := range b.Shards {
			if s.Shard != shard || len(s.Observations) == 0 {
				continue
			}

			if !slices.Contains(servers, s.Server) {
				servers = append(servers, s.Server)
			}
			seen[s.Server] = append(seen[s.Server], s.Observations...)
		}
	}

	return servers, seen
}

func connect(t *testing.T, in targets.Instance) *pgx.Conn {
	t.Helper()

	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, "postgres"))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Close(context.Background()) })

	return c
}

func do(t *testing.T, c *pgx.Conn, sql string) {
	t.Helper()

	if _, err := c.Exec(t.Context(), sql); err != nil {
		t.Fatal(sql, err)
	}
}

// trueOf makes sure that what was observed of one run of a PostgreSQL server is no
// more than was so: places only grow, nothing was flushed that had not been inserted by then,
// and the clock is this machine's.
func trueOf(t *testing.T, seen []observation.Observation) {
	t.Helper()

	for i, a := range seen {
		if off := int64(a.Stamp - a.Wall); off > int64(time.Millisecond) || off < -int64(a.T1-a.T0)-int64(2*time.Millisecond) {
			t.Errorf("the clock was %d ns off this machine's: %+v", off, a)
		}

		for _, b := range seen[i+1:] {
			switch {
			case a.Timeline != b.Timeline:
			case a.T1 <= b.T0 && (b.Flushed < a.Flushed || b.Inserted < a.Inserted):
				t.Fatalf("a log went back: %+v, then %+v", a, b)
			case a.T1 <= b.T0 && b.Inserted < a.Flushed:
				t.Fatalf("flushed beyond what was inserted later: %+v, then %+v", a, b)
			case b.T0 < a.T0:
				t.Fatalf("not in order: %+v, then %+v", a, b)
			}
		}
	}
}

// A primary is killed and comes back, and then a standby takes over: what is observed is
// told apart by the run of the server, and nothing of it is more than was so.
func TestPrimariesComeAndGo(t *testing.T) {
	w := newWorld(t, "east")
	tools := sandboxtest.Tools(t)
	dir := sandboxtest.NewCluster(t, tools, 16<<20)
	var proc servers.Server
	first := w.primary(sandboxtest.Start(t, tools, dir, sandboxtest.PostgresOptions{Shard: "orders/0", Proc: &proc}))

	x := w.watch()
	observed(t, x)
	writing, stop := context.WithCancel(t.Context())
	defer stop()

	write := func(in targets.Instance) {
		c := connect(t, in)
		do(t, c, "CREATE TABLE IF NOT EXISTS a (n int)")

		go func() {
			for writing.Err() == nil {
				if _, err := c.Exec(writing, "INSERT INTO a VALUES (1)"); err != nil {
					return
				}
			}
		}()
	}
	write(first)

	if b := whole(t, x, BurstOptions{}); b.Observer != x.Observer() || b.To <= b.From {
		t.Fatalf("%+v", b)
	}

	// It dies, which is said, and comes back.
	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}

	until(t, "the death is noticed", func() bool { return len(x.State().Failing) == 1 })

	if f := x.State().Failing[0]; f.Shard != first.Shard || f.Since.IsZero() || f.Err == "" {
		t.Errorf("%+v", f)
	}

	if b, err := x.Burst(t.Context(), BurstOptions{}); err != nil || len(b.Missing) != 1 || b.Missing[0].Shard != first.Shard {
		t.Errorf("a burst without the server: %+v, %v", b, err)
	}

	again := w.primary(sandboxtest.Start(t, tools, dir, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	observed(t, x)
	write(again)

	if _, err := x.Burst(t.Context(), BurstOptions{}); err != nil {
		t.Fatal(err)
	}

	// A standby takes over, and the old one is fenced.
	standby := sandboxtest.Standby(t, again, sandboxtest.PostgresOptions{})
	standby.Shard, standby.Database = first.Shard, "postgres"
	do(t, connect(t, standby), "SELECT pg_promote(true, 120)")
	w.primary(standby)
	do(t, connect(t, again), "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'drctl' AND pid <> pg_backend_pid()")

	until(t, "the standby is observed", func() bool {
		_, err := x.Burst(t.Context(), BurstOptions{})
		servers, _ := stored(t, w.set.Vaults[0], first.Shard)

		return err == nil && len(servers) == 3
	})

	names, seen := stored(t, w.set.Vaults[0], first.Shard)
	last := seen[names[2]]

	for _, name := range names {
		trueOf(t, seen[name])
	}

	if a, b := seen[names[0]], seen[names[1]]; a[0].Timeline != b[0].Timeline || b[0].Timeline == last[len(last)-1].Timeline {
		t.Errorf("timelines %s, %s, %s", a[0].Timeline, b[0].Timeline, last[len(last)-1].Timeline)
	}
}

// master starts a Redis server that numbers its writes.
func master(t *testing.T, shard string) targets.Instance {
	t.Helper()
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Shard: shard, Settings: map[string]string{"repl-ping-replica-period": "3600"}})
	sandboxtest.RedisReplica(t, in, sandboxtest.RedisOptions{})
	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal()})
	t.Cleanup(func() { _ = c.Close() })
	until(t, "the replica follows", func() bool { return strings.Contains(c.Info(t.Context(), "replication").Val(), "state=online") })

	return in
}

// still are the times in which a stream stood still, as far as they follow each other.
func still(seen []observation.Observation) (out []clock.Range) {
	for i, o := range seen {
		switch {
		case !o.Paused:
		case i > 0 && seen[i-1].Paused && seen[i-1].T1 == o.T0 && seen[i-1].Inserted == o.Inserted:
			out[len(out)-1].Latest = o.T1
		default:
			out = append(out, clock.Range{Earliest: o.T0, Latest: o.T1})
		}
	}

	return out
}

// Several masters that are written to all the time stand still at one time in a burst,
// and go on after it.
func TestBurstPausesAllMasters(t *testing.T) {
	w := newWorld(t, "east")
	pg := w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	var writes [3]atomic.Int64
	writing, stop := context.WithCancel(t.Context())
	defer stop()

	var writers sync.WaitGroup
	for i := range writes {
		in := w.primary(master(t, fmt.Sprintf("carts/%d", i)))
		c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal(), MaxRetries: -1, ReadTimeout: time.Minute})

		writers.Go(func() {
			defer c.Close()

			for writing.Err() == nil {
				if err := c.Set(context.Background(), "k", 1, 0).Err(); err != nil {
					t.Error(err)
					return
				}

				writes[i].Add(1)
			}
		})
	}

	x := w.watch()
	observed(t, x)

	inside := map[clock.Instant]int{}
	b := whole(t, x, BurstOptions{Pause: true, During: func(ctx context.Context, look func(context.Context) error) error {
		inside[x.At(time.Now())]++

		return look(ctx)
	}})

	within := 0
	for at := range inside {
		if at >= b.From && at <= b.To {
			within++
		}
	}

	if within != 1 {
		t.Fatalf("%+v: what is done within a burst was done %d times", b, within)
	}

	// There is an instant at which all of them stood still.
	common := clock.Range{Earliest: b.From, Latest: b.To}

	for i := range writes {
		_, seen := stored(t, w.set.Vaults[0], targets.ShardID{Target: "carts", Shard: fmt.Sprint(i)})
		widest := clock.Range{}

		for _, all := range seen {
			for _, r := range still(all) {
				if r.Width() > widest.Width() && r.Earliest >= b.From && r.Latest <= b.To {
					widest = r
				}
			}
		}

		if widest == (clock.Range{}) {
			t.Fatalf("master %d never stood still in %+v", i, b)
		}
		common = clock.Range{Earliest: max(common.Earliest, widest.Earliest), Latest: min(common.Latest, widest.Latest)}
	}

	if common.Earliest > common.Latest {
		t.Errorf("there is no instant at which all stood still: %+v", common)
	}

	before := writes[2].Load()
	until(t, "writers go on", func() bool { return writes[2].Load() > before })
	stop()
	writers.Wait()

	// Both ends of the burst are within what was observed.
	_, seen := stored(t, w.set.Vaults[0], pg.Shard)
	for _, all := range seen {
		if all[0].T0 > b.From || all[len(all)-1].T0 < b.To {
			t.Errorf("observed from %d to %d, the burst is from %d to %d", all[0].T0, all[len(all)-1].T0, b.From, b.To)
		}

		dense := 0
		for _, o := range all {
			if o.T0 >= b.From && o.T1 <= b.To {
				dense++
			}
		}

		if dense < 2 {
			t.Errorf("%d observations within the burst", dense)
		}
	}
}

// A server that falls silent, or is cut off in the middle of an answer, holds up no other, is named, and
// is observed again when it is back.
func TestOneServerHoldsUpNoOther(t *testing.T) {
	w := newWorld(t, "east")
	w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	f, bad := newFront(t, sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/1"}))
	w.primary(bad)
	r, badRedis := newFront(t, master(t, "carts/0"))
	w.primary(badRedis)

	x := w.watch()
	observed(t, x)

	for range 5 {
		f.cut.Store(11)
		r.cut.Store(11)
		until(t, "the answer is cut off", func() bool { return f.cut.Load() == 0 && r.cut.Load() == 0 })
		observed(t, x)
	}

	f.silent.Store(true)
	r.silent.Store(true)

	until(t, "a burst lacks two alone", func() bool {
		b, err := x.Burst(t.Context(), BurstOptions{Pause: true})
		if err != nil {
			t.Fatal(err)
		}

		return len(b.Missing) == 2 && b.PauseErr != nil
	})

	until(t, "the silence of two alone is said", func() bool {
		st := x.State()
		return st.Observed == 1 && len(st.Failing) == 2 && st.Failing[0].Shard == badRedis.Shard && st.Failing[1].Shard == bad.Shard
	})

	f.silent.Store(false)
	r.silent.Store(false)
	observed(t, x)

	whole(t, x, BurstOptions{})

	for _, shard := range []targets.ShardID{bad.Shard, {Target: "orders", Shard: "0"}} {
		_, seen := stored(t, w.set.Vaults[0], shard)
		for _, all := range seen {
			trueOf(t, all)
		}
	}
}

// What a vault missed while it was away is brought to it; while too few vaults take what
// is observed a burst says so.
func TestVaultAwayAndBack(t *testing.T) {
	w := newWorld(t, "east", "west")
	in := w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	west := w.set.Vaults[1]
	place := filepath.Join(strings.TrimPrefix(west.Store().URL(), "file://"), "observations")

	if err := os.WriteFile(place, nil, 0o600); err != nil { // in the way of the folder
		t.Fatal(err)
	}

	x := w.watch()
	observed(t, x)

	short, stop := context.WithTimeout(t.Context(), 500*time.Millisecond)
	defer stop()

	if _, err := x.Burst(short, BurstOptions{For: time.Millisecond}); err == nil {
		t.Error("a burst is said to be durable that one of two vaults lacks")
	}

	until(t, "the trouble is said", func() bool { return strings.Contains(x.State().Trouble, "west") })

	if err := os.Remove(place); err != nil {
		t.Fatal(err)
	}

	if _, err := x.Burst(t.Context(), BurstOptions{}); err != nil {
		t.Fatal(err)
	}

	until(t, "the trouble is over", func() bool { return x.State().Trouble == "" })

	_, there := stored(t, w.set.Vaults[0], in.Shard)

	_, here := stored(t, west, in.Shard)
	for server, all := range there {
		if len(here[server]) < len(all) {
			t.Errorf("the vault that was away has %d observations, the other %d", len(here[server]), len(all))
		}
	}
}

// Memory stays bounded while no vault takes what is observed: the oldest goes, which is said.
func TestTheOldestIsDropped(t *testing.T) {
	w := newWorld(t, "east")
	x := New(w.options())
	x.o.Vaults = func(context.Context) (vault.Set, error) { return vault.Set{}, errors.New("no vault answers") }

	full := observation.Seen{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Observations: make([]observation.Observation, maxKept/4)}
	for range 10 {
		x.keep.add(observation.Batch{Group: "shop", Shards: []observation.Seen{full}})
		x.keep.saveAll(t.Context())
	}

	if x.keep.size > maxKept || len(x.keep.waiting) == 0 {
		t.Errorf("%d observations are kept in %d batches", x.keep.size, len(x.keep.waiting))
	}

	if st := x.State(); !strings.Contains(st.Trouble, "are lost") || !strings.Contains(st.Trouble, "no vault answers") {
		t.Errorf("it says %q", st.Trouble)
	}
}

// An observer that is held again within its time is the same one; else it ends.
func TestRunning(t *testing.T) {
	w := newWorld(t, "east")
	w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"}))
	var r Running
	t.Cleanup(r.Stop)

	if _, err := r.Find("shop"); err == nil {
		t.Error("found before there is one")
	}

	first, letGo := r.Hold(w.options())
	if found, err := r.Find("shop"); err != nil || found != first {
		t.Error(err)
	}

	letGo(time.Hour)
	letGo(0) // a second time is nothing

	again, letGo := r.Hold(w.options())
	if again != first {
		t.Error("another observer within the time of the first")
	}

	w.primary(sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/1"}))

	other, letOther := r.Hold(w.options())
	if other == first {
		t.Error("the same observer for other shards")
	}

	letGo(0)

	if found, err := r.Find("shop"); err != nil || found != other {
		t.Error("the old one's end took the new one away")
	}

	letOther(0)
	until(t, "it ends", func() bool { _, err := r.Find("shop"); return err != nil })
}
