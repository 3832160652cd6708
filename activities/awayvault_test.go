package activities_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/targets"
)

// wire leads to a server until it is cut.
type wire struct {
	addr, to string
	mu       sync.Mutex
	listener net.Listener
	conns    []net.Conn
}

func newWire(t *testing.T, to string) *wire {
	t.Helper()
	w := &wire{addr: "127.0.0.1:0", to: strings.TrimPrefix(to, "http://")}
	w.mend(t)
	t.Cleanup(w.cut)

	return w
}

func (w *wire) mend(t *testing.T) {
	t.Helper()

	l, err := net.Listen("tcp", w.addr)
	for end := time.Now().Add(time.Minute); err != nil && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		l, err = net.Listen("tcp", w.addr) // a client of somebody else's may have the port for a while
	}

	if err != nil {
		t.Fatal(err)
	}

	w.mu.Lock()
	defer w.mu.Unlock()

	w.listener, w.addr = l, l.Addr().String()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}

			s, err := net.Dial("tcp", w.to)
			if err != nil {
				_ = c.Close()
				continue
			}

			w.mu.Lock()

			if w.listener != l { // it was cut meanwhile
				w.mu.Unlock()

				_, _ = c.Close(), s.Close()

				return
			}

			w.conns = append(w.conns, c, s)
			w.mu.Unlock()

			go func() { _, _ = io.Copy(s, c); _ = s.Close() }()
			go func() { _, _ = io.Copy(c, s); _ = c.Close() }()
		}
	}()
}

func (w *wire) cut() {
	w.mu.Lock()
	defer w.mu.Unlock()

	if w.listener != nil {
		_ = w.listener.Close()
	}

	w.listener = nil
	for _, c := range w.conns {
		_ = c.Close()
	}
	w.conns = nil
}

// redisWorld is one Redis and two vaults: east is a directory, west a bucket
// behind a wire. Both must hold what is durable.
func redisWorld(t *testing.T) (*world, *wire) {
	t.Helper()
	w := &world{instances: map[targets.ShardID]targets.Instance{}, tools: sandboxtest.Tools(t), dir: sandboxtest.Dir(t)}
	w.shop.Postgres = []targets.Instance{{}} // the gate, which nothing here asks for
	w.add(sandboxtest.Redis(t, sandboxtest.RedisOptions{}), nil)
	store := sandboxtest.S3(t, true)
	line := newWire(t, store.Address)
	w.vaults(t, map[string]vault.Location{
		"east": {URL: "file://" + filepath.Join(w.dir, "vault")},
		"west": {URL: "s3://media/vault", Endpoint: "http://" + line.addr, AccessKey: store.User, SecretKey: store.Password},
	})

	return w, line
}

// write makes traffic and returns where the server's log ends.
func (w *world) write(t *testing.T, a *activities.Activities, n int) targets.Position {
	t.Helper()
	in := w.instances[w.shards[0].Shard]

	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal()})
	defer c.Close()

	for i := range n {
		if err := c.Set(t.Context(), fmt.Sprintf("k%d", i), strings.Repeat("x", 100), 0).Err(); err != nil {
			t.Fatal(err)
		}
	}

	st, err := a.Drivers[targets.Redis].Probe(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}

	return st.Position
}

// begun waits until the archiver has begun the server's log: a Redis gets a new
// replication id with its first replica.
func (w *world) begun(t *testing.T, a *activities.Activities) {
	t.Helper()

	shard := w.shards[0].Shard
	for try := 0; ; try++ {
		st, err := a.Drivers[targets.Redis].Probe(t.Context(), w.instances[shard])
		if err != nil {
			t.Fatal(err)
		}

		_, ok, err := stream.Began(t.Context(), w.set.Vaults, shard, st.Position.Timeline)
		if ok {
			return
		}

		if try == 1200 {
			t.Fatal("the archiver does not begin: ", err)
		}

		time.Sleep(100 * time.Millisecond)
	}
}

func heldBy(t *testing.T, set vault.Set, shard targets.ShardID, at targets.Position) {
	t.Helper()

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	start, ok, err := stream.Began(ctx, set.Vaults, shard, at.Timeline)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}

	from := targets.Position{Kind: at.Kind, Timeline: at.Timeline, Offset: start}
	if _, err := stream.AwaitDurable(ctx, set, shard, from, at, 50*time.Millisecond, nil); err != nil {
		t.Fatal(err)
	}
}

// partly is a platform one of whose vaults could not be opened.
type partly struct {
	resolver
	away string
}

func (p partly) Set(context.Context, string, string) (vault.Set, error) {
	set := vault.Set{Durability: p.set.Durability, Away: []string{p.away}}
	for _, v := range p.set.Vaults {
		if v.Region() != p.away {
			set.Vaults = append(set.Vaults, v)
		}
	}

	return set, nil
}

func (p partly) Vault(ctx context.Context, region string) (*vault.Vault, error) {
	if region == p.away {
		return nil, fail.Newf(fail.Unavailable, "open the vault of "+region, "", "connection refused")
	}

	return p.resolver.Vault(ctx, region)
}

// joining counts the shards that a barrier has joined.
type joining struct {
	targets.Driver
	n *atomic.Int32
}

func (j joining) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	j.n.Add(1)
	return j.Driver.(targets.Quiescer).Join(ctx, in, req)
}

// quiesce takes a cut and tells how many shards were joined for it.
func (w *world) quiesce(p platform.Resolver) (targets.Cut, int32, error) {
	a, n := w.activities(p), new(atomic.Int32)
	a.Drivers[targets.Redis] = joining{a.Drivers[targets.Redis], n}
	cut, err := execute[targets.Cut](a, activities.QuiesceCutName, activities.GroupIn{Group: group}, nil)

	return cut, n.Load(), err
}

// While a vault of the policy is cut off, the other gets the stream and bases,
// and no cut is called sealed. When it is back it gets all that it missed.
func TestAVaultThatIsCutOff(t *testing.T) {
	w, line := redisWorld(t)
	shard := w.shards[0].Shard
	opened := w.activities(resolver{w, policy(targets.Gate)})
	east := vault.Set{Vaults: w.set.Vaults[:1], Durability: 1}
	f := followOne(t, opened, activities.FollowIn{Shard: shard})
	w.begun(t, opened)
	heldBy(t, w.set, shard, w.write(t, opened, 10))
	w.bases(t, opened, "first")

	line.cut()
	heldBy(t, east, shard, w.write(t, opened, 1000))

	take := func(a *activities.Activities, name string) activities.BaseOut {
		t.Helper()

		out, err := execute[activities.BaseOut](a, activities.TakeBaseName, activities.BaseIn{Shard: shard, ID: name}, nil)
		if err != nil {
			t.Fatal(err)
		}

		return out
	}
	if out := take(opened, "opened"); out.Vault != "east" || !slices.Equal(out.Away, []string{"west"}) {
		t.Fatalf("%+v", out)
	}
	// A worker that was restarted meanwhile has never opened the vault.
	f.stop()
	<-f.done
	restarted := w.activities(partly{resolver{w, policy(targets.Gate)}, "west"})
	f = followOne(t, restarted, activities.FollowIn{Shard: shard})
	at := w.write(t, restarted, 1000)
	heldBy(t, east, shard, at)

	if out := take(restarted, "restarted"); out.Vault != "east" {
		t.Fatalf("%+v", out)
	}
	cut := targets.Cut{ID: "20260101T000000.000Z-00ab", Group: group, QuiescedAt: time.Now(),
		Shards: []targets.ShardPoint{{Shard: shard, Kind: targets.Redis, Region: "east", Position: at}}}

	_, err := execute[targets.Cut](restarted, activities.SealCutName, activities.CutIn{Cut: cut}, nil)
	if !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "taken, not sealed") || !strings.Contains(err.Error(), "only east") {
		t.Fatalf("sealed in fewer vaults than the policy asks for: %v", err)
	}
	// Writers are not stopped for a cut that cannot be sealed.
	share := resolver{w, policy(targets.Share)}
	for name, p := range map[string]platform.Resolver{"opened": share, "restarted": partly{share, "west"}} {
		if cut, joined, err := w.quiesce(p); joined > 0 || !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "only east") {
			t.Errorf("%s: %d shards were joined for cut %q: %v", name, joined, cut.ID, err)
		}
	}

	f.stop()
	<-f.done

	line.mend(t)

	if cut, joined, err := w.quiesce(share); err != nil || joined == 0 || cut.ID == "" {
		t.Errorf("%d shards were joined for cut %q: %v", joined, cut.ID, err)
	}
	f = followOne(t, opened, activities.FollowIn{Shard: shard})
	heldBy(t, w.set, shard, w.write(t, opened, 10))
	w.bases(t, opened, "last")
	f.stop()

	for _, v := range w.set.Vaults {
		if bases, err := v.Bases(t.Context(), shard); err != nil || len(bases) < 4 {
			t.Errorf("%s holds %d bases: %v", v.Region(), len(bases), err)
		}

		g, _ := resolver{w, policy(targets.Gate)}.Group(group)
		if out, err := upkeep.CheckVault(t.Context(), v, g, "1/1", nil); err != nil || out.Failed > 0 {
			t.Errorf("%v %+v", err, out.Findings)
		}
	}
}

// A vault that has the log and no base that leads to it, as one that was away
// when the log began anew, gets the bases of the other; until then no cut is
// sealed in it, and afterwards following asks no more.
func TestAVaultWithoutABaseThatLeadsGetsOne(t *testing.T) {
	w, _ := redisWorld(t)
	shard := w.shards[0].Shard
	a := w.activities(resolver{w, policy(targets.Gate)})
	f := followOne(t, a, activities.FollowIn{Shard: shard})
	w.begun(t, a)
	at := w.write(t, a, 10)
	heldBy(t, w.set, shard, at)
	f.stop()
	<-f.done
	west := w.set.Vaults[1]

	bases, err := west.Bases(t.Context(), shard)
	if err != nil || len(bases) == 0 {
		t.Fatalf("%d bases: %v", len(bases), err)
	}

	for _, b := range bases {
		if err := west.Store().Delete(t.Context(), vault.BaseRecordKey(shard, b.ID)); err != nil {
			t.Fatal(err)
		}
	}

	out := followOne(t, a, activities.FollowIn{Shard: shard}).wait(t, "west has no base")
	if len(out.Copies) != 1 || out.Copies[0] != (activities.CopyIn{Shard: shard, From: "east", To: "west"}) || out.Break != "" {
		t.Fatalf("%+v", out)
	}
	f = followOne(t, a, activities.FollowIn{Shard: shard, BaseAsked: true}) // goes on meanwhile
	heldBy(t, w.set, shard, w.write(t, a, 10))
	f.stop()
	<-f.done

	if _, err := execute[any](a, activities.CopyVaultName, out.Copies[0], nil); err != nil {
		t.Fatal(err)
	}
	f = followOne(t, a, activities.FollowIn{Shard: shard})
	at = w.write(t, a, 10)

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()

	if in, err := stream.AwaitRecoverable(ctx, w.set, shard, at, nil, 50*time.Millisecond, nil); err != nil || len(in) != 2 {
		t.Fatalf("recoverable from %v: %v", in, err)
	}

	f.stop()
	<-f.done

	if len(f.out.Copies) > 0 {
		t.Errorf("it still asks for %v", f.out.Copies)
	}
}

// The vault of the region itself may be the one that is away: the base is taken
// into the other, and told to be missed when the first is back.
func TestABaseIsTakenIntoTheOtherVault(t *testing.T) {
	w, line := redisWorld(t)
	slices.Reverse(w.set.Vaults) // west is the region's own
	shard := w.shards[0].Shard
	a := w.activities(resolver{w, policy(targets.Gate)})
	followOne(t, a, activities.FollowIn{Shard: shard})
	w.begun(t, a)
	heldBy(t, w.set, shard, w.write(t, a, 10))
	w.bases(t, a, "first")
	line.cut()

	take := func(name string) activities.BaseOut {
		t.Helper()

		out, err := execute[activities.BaseOut](a, activities.TakeBaseName, activities.BaseIn{Shard: shard, ID: name}, nil)
		if err != nil {
			t.Fatal(err)
		}

		return out
	}
	if out := take("second"); out.Vault != "east" || len(out.Missed) > 0 {
		t.Fatalf("%+v", out)
	}

	line.mend(t)

	if out := take("third"); out.Vault != "west" || !slices.Equal(out.Missed, []string{"east"}) {
		t.Fatalf("%+v", out)
	}

	if _, err := execute[any](a, activities.CopyVaultName, activities.CopyIn{Shard: shard, From: "east", To: "west"}, nil); err != nil {
		t.Fatal(err)
	}

	if b, err := w.set.Vaults[0].Base(t.Context(), shard, "second"); err != nil || b.ID != "second" {
		t.Fatal(err)
	}
}

// early hands out a base that was taken before the archiver began.
type early struct {
	targets.Driver
	base  *targets.Artifact
	asked int
}

func (e *early) Base(ctx context.Context, in targets.Instance, req targets.BaseRequest, to targets.Sink) (targets.Artifact, error) {
	if e.asked++; e.asked == 1 {
		return *e.base, nil
	}

	return e.Driver.Base(ctx, in, req, to)
}

// A base needs the archiver: it waits for one that is in its back-off instead
// of being taken before it. One that was taken before its log is archived is
// not recorded, another is taken at once; and a record of such a base, which an
// earlier drctl wrote, is no damage.
func TestABaseBeforeItsLog(t *testing.T) {
	t.Parallel()
	w, _ := redisWorld(t)
	shard := w.shards[0].Shard
	in := w.instances[shard]
	a := w.activities(resolver{w, policy(targets.Gate)})

	before, err := a.Drivers[targets.Redis].Base(t.Context(), in, targets.BaseRequest{ID: "before"}, w.set.Shard(shard).ForBase("before"))
	if err != nil {
		t.Fatal(err)
	}

	w.write(t, a, 10)

	type result struct {
		out activities.BaseOut
		err error
	}

	waiting := make(chan result, 1)
	go func() {
		out, err := execute[activities.BaseOut](a, activities.TakeBaseName, activities.BaseIn{Shard: shard, ID: "waits"}, nil)
		waiting <- result{out, err}
	}()

	select {
	case r := <-waiting:
		t.Fatalf("a base without an archiver: %+v %v", r.out, r.err)
	case <-time.After(2 * time.Second):
	}

	followOne(t, a, activities.FollowIn{Shard: shard})
	r := <-waiting

	began, ok, err := stream.Began(t.Context(), w.set.Vaults, shard, r.out.Base.From.Timeline)
	if r.err != nil || err != nil || !ok || began == 0 || r.out.Base.From.Offset < began || before.From.Offset >= began {
		t.Fatalf("%+v %v; the log is archived from %d on, the early base is at %d", r.out, r.err, began, before.From.Offset)
	}

	driver := &early{Driver: a.Drivers[targets.Redis], base: &before}
	again := w.activities(resolver{w, policy(targets.Gate)})
	again.Drivers[targets.Redis] = driver

	out, err := execute[activities.BaseOut](again, activities.TakeBaseName, activities.BaseIn{Shard: shard, ID: "again"}, nil)
	if err != nil || driver.asked != 2 || out.Base.From.Offset < began {
		t.Fatalf("%d bases, %+v %v", driver.asked, out, err)
	}

	if _, err := w.set.Vaults[0].Base(t.Context(), shard, "before"); !fail.Is(err, fail.NotFound) {
		t.Fatalf("the base of no use is recorded: %v", err)
	}

	if _, err := w.set.SaveBase(t.Context(), before); err != nil {
		t.Fatal(err)
	}
	at := w.write(t, a, 10)
	heldBy(t, w.set, shard, at)

	cut := targets.Cut{ID: "20260101T000000.000Z-00ab", Group: group, QuiescedAt: time.Now(), SealedAt: time.Now(), SealedIn: []string{"east", "west"},
		Shards: []targets.ShardPoint{{Shard: shard, Kind: targets.Redis, Region: "east", Position: at}}}
	if _, err := w.set.SaveCut(t.Context(), cut); err != nil {
		t.Fatal(err)
	}

	g, _ := resolver{w, policy(targets.Gate)}.Group(group)
	for _, v := range w.set.Vaults {
		checked, err := upkeep.CheckVault(t.Context(), v, g, "1/1", nil)
		if err != nil || checked.Failed > 0 {
			t.Errorf("%v %+v", err, checked.Findings)
		}

		if !slices.ContainsFunc(checked.Findings, func(f targets.Finding) bool {
			return f.Severity == targets.Skipped && strings.Contains(f.Expected, "base before") && strings.Contains(f.Detail, "of no use")
		}) {
			t.Errorf("%s: the base of no use is not named: %+v", v.Region(), checked.Findings)
		}
	}
}

// An attempt whose worker died after the data was stored is gone on with: the
// next one takes no other base.
func TestABaseThatWaitedForItsStreamIsNotTakenAgain(t *testing.T) {
	w, _ := redisWorld(t)
	shard := w.shards[0].Shard
	a := w.activities(resolver{w, policy(targets.Gate)})
	followOne(t, a, activities.FollowIn{Shard: shard})
	w.begun(t, a)

	stored, err := a.Drivers[targets.Redis].Base(t.Context(), w.instances[shard], targets.BaseRequest{ID: "one"}, w.set.Shard(shard).ForBase("one"))
	if err != nil {
		t.Fatal(err)
	}
	driver := &early{Driver: a.Drivers[targets.Redis], asked: 1}
	a.Drivers[targets.Redis] = driver
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(quiet))
	env := suite.NewTestActivityEnvironment()
	a.Register(env)
	env.SetHeartbeatDetails(engine.Beat{Taken: &engine.TakenBase{Base: stored, Vault: "east"}})

	if _, err := env.ExecuteActivity(activities.TakeBaseName, activities.BaseIn{Shard: shard, ID: "one"}); err != nil || driver.asked != 1 {
		t.Fatalf("%v; it was taken %d times more", err, driver.asked-1)
	}

	for _, v := range w.set.Vaults {
		if b, err := v.Base(t.Context(), shard, "one"); err != nil || b.Snapshot != stored.Snapshot {
			t.Errorf("%s: %+v %v", v.Region(), b, err)
		}
	}
}
