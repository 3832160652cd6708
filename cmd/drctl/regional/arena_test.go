package regional_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"drctl/internal/lab"
	"drctl/internal/lab/delay"
	"drctl/internal/lab/rounds"
	"drctl/internal/lab/shop"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// The shards of the small lab.
var (
	orders = targets.ShardID{Target: "orders", Shard: "0"}
	carts  = targets.ShardID{Target: "carts", Shard: "0"}
)

// other is the region that is not this one.
func other(region string) string {
	return map[string]string{lab.East: lab.West, lab.West: lab.East}[region]
}

// arena is a lab under customers, whose every way between drctl and what it uses can be cut or listened to,
// and that is watched from outside.
type arena struct {
	*place
	fronts    map[string]*front       // of the vaults, by region, and of the witness
	lines     map[string]*delay.Proxy // before the servers, by name
	watch     *rounds.Watch
	registers []*rounds.Register
	journal   string
	forgiven  map[string]bool // what failovers may have lost: operations, and changes of carts
	planted   sync.WaitGroup  // faults that go on
	approve   func() bool     // signs for a person; nil where nobody has to
}

// front is what stands before a vault or the witness.
type front struct {
	url  string
	mu   sync.Mutex
	away bool
	hook func(key string) // told of every write, before it is done
}

func (f *front) answer(r *http.Request) int {
	f.mu.Lock()
	away, hook := f.away, f.hook
	f.mu.Unlock()

	if away {
		return http.StatusServiceUnavailable
	}

	if hook != nil && r.Method == http.MethodPut {
		key, _ := url.PathUnescape(r.URL.Path)
		hook(key)
	}

	return 0
}

func (f *front) set(away bool) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.away = away
}

func (f *front) listen(hook func(key string)) {
	f.mu.Lock()
	defer f.mu.Unlock()

	f.hook = hook
}

// newArena starts a lab with proxies, and puts itself in the way.
func newArena(t *testing.T) *arena {
	t.Helper()

	a := &arena{place: newPlace(t, "--proxies"), fronts: map[string]*front{}, lines: map[string]*delay.Proxy{}, forgiven: map[string]bool{}}
	a.journal = filepath.Join(a.dir, "journal.jsonl")
	t.Cleanup(a.tell)
	a.rewire()
	a.exec(lab.East, "CREATE TABLE "+rounds.WatchTable+" (region text PRIMARY KEY, n bigint); INSERT INTO "+rounds.WatchTable+" VALUES ('east', 0), ('west', 0)")
	a.exec(lab.East, "CREATE TABLE "+rounds.RegisterTable+" (v bigint); INSERT INTO "+rounds.RegisterTable+" VALUES (0)")

	l := a.open()

	var all []targets.Instance

	for _, region := range []string{lab.East, lab.West} {
		for _, id := range []targets.ShardID{orders, carts} {
			all = append(all, a.at(region, id))
		}
	}

	for _, id := range []targets.ShardID{orders, carts} {
		through, err := l.Through(id)
		if err != nil {
			t.Fatal(err)
		}
		a.registers = append(a.registers, rounds.NewRegister(through, through.Address))
	}

	a.link(lab.West)
	a.poolers()

	a.watch = rounds.NewWatch(context.WithoutCancel(t.Context()), all)
	t.Cleanup(a.watch.Stop)

	return a
}

// poolers starts a PgBouncer again that dies, as a service manager does: 1.18 dies by itself now and then when it is told to KILL a
// database whose server does not let it in.
func (a *arena) poolers() {
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})

	go func() {
		defer close(ended)

		for ; ctx.Err() == nil; time.Sleep(500 * time.Millisecond) {
			if l, err := lab.Open(a.dir, sandboxtest.Tools(a.T)); err == nil {
				_ = l.Start(ctx, of("proxy", "orders"))
			}
		}
	}()

	a.Cleanup(func() {
		stop()
		<-ended
	})
}

// tell shows what the servers said last, where something failed.
func (a *arena) tell() {
	if !a.Failed() {
		return
	}

	for _, s := range a.open().Servers() {
		b, err := os.ReadFile(s.Dir + ".log")
		a.Logf("%s, which lives %t: %v\n%s", s.Name, s.Proc.Alive(), err, b[max(0, len(b)-3000):])
	}

	if b, err := os.ReadFile(a.log); err == nil {
		a.Logf("drctl up:\n%s", b[max(0, len(b)-20000):])
	}
}

func (p *place) open() *lab.Lab {
	p.Helper()

	l, err := lab.Open(p.dir, sandboxtest.Tools(p.T))
	if err != nil {
		p.Fatal(err)
	}

	return l
}

// at is a server as it is, with no line before it.
func (p *place) at(region string, id targets.ShardID) targets.Instance {
	p.Helper()

	in, err := p.open().Instance(region, id)
	if err != nil {
		p.Fatal(err)
	}

	return in
}

// rewire puts lines before the servers and fronts before vaults and witness, and has the configuration lead there.
func (a *arena) rewire() {
	a.Helper()

	file := filepath.Join(a.dir, "drctl.yaml")

	b, err := os.ReadFile(file)
	if err != nil {
		a.Fatal(err)
	}
	text := string(b)

	swap := func(old, new string) {
		if !strings.Contains(text, old) {
			a.Fatalf("the configuration has no %s", old)
		}
		text = strings.Replace(text, old, new, 1)
	}

	for _, region := range []string{lab.East, lab.West} {
		media := a.at(region, targets.ShardID{Target: "media", Shard: "0"})
		swap(`vault: {url: "s3://vault", endpoint: "`+media.Address+`"`, `vault: {url: "s3://vault", endpoint: "`+a.front(region, media)+`"`)

		for _, id := range []targets.ShardID{orders, carts} {
			in := a.at(region, id)

			line, err := delay.Listen("127.0.0.1:0", in.Address, 0)
			if err != nil {
				a.Fatal(err)
			}

			a.Cleanup(line.Close)
			a.lines[region+"/"+id.String()] = line
			swap(`{address: "`+in.Address+`", role:`, `{address: "`+line.Address()+`", role:`)
		}
	}

	// Customers, faults and other tests at the same time: a guard that lets go because it was not given the processor is right,
	// and shows nothing.
	swap("guard: {lease: 5s}", "guard: {lease: 10s}")

	witness := sandboxtest.S3(a, false)
	secret := filepath.Join(a.dir, "secrets", "witness")

	if err := os.WriteFile(secret, []byte(witness.Password.Reveal()), 0o600); err != nil {
		a.Fatal(err)
	}

	swap(`witness: {url: "file://`+a.dir+`/witness"}`, fmt.Sprintf(`witness: {url: "s3://%s/epochs", endpoint: "%s", access_key: %s, secret_key: {file: %s}}`, witness.Database, a.front("witness", witness), witness.User, secret))

	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		a.Fatal(err)
	}
}

func (a *arena) front(name string, in targets.Instance) string {
	f := &front{}
	f.url = sandboxtest.NewFront(a, in, f.answer).URL
	a.fronts[name] = f

	return f.url
}

// link has the servers of a region follow those of the other one over the lines.
func (a *arena) link(region string) {
	a.Helper()

	from := other(region)
	host, port, _ := strings.Cut(a.lines[from+"/"+orders.String()].Address(), ":")
	secret := a.at(from, orders).Password.Reveal()
	a.exec(region, fmt.Sprintf("ALTER SYSTEM SET primary_conninfo = 'host=%s port=%s user=drctl password=%s'", host, port, secret))
	a.exec(region, "SELECT pg_reload_conf()")

	host, port, _ = strings.Cut(a.lines[from+"/"+carts.String()].Address(), ":")
	if err := a.redis(region).Do(a.Context(), "REPLICAOF", host, port).Err(); err != nil {
		a.Fatal(err)
	}

	a.until("the standbys follow over the lines", func() bool { return a.follows(region) == "" })
}

func (a *arena) redis(region string) *redis.Client {
	in := a.at(region, carts)
	c := redis.NewClient(&redis.Options{Addr: in.Address, Password: in.Password.Reveal(), DisableIdentity: true})
	a.Cleanup(func() { _ = c.Close() })

	return c
}

// follows says why the servers of a region do not follow; "" when they do.
func (a *arena) follows(region string) string {
	ctx, stop := context.WithTimeout(a.Context(), 5*time.Second)
	defer stop()

	in := a.at(region, carts)
	r := redis.NewClient(&redis.Options{Addr: in.Address, Password: in.Password.Reveal(), DisableIdentity: true})
	defer r.Close()

	if text, err := r.Info(ctx, "replication").Result(); err != nil || !strings.Contains(text, "master_link_status:up") {
		return fmt.Sprintf("Redis in %s: %v %s", region, err, text)
	}

	c, err := connectTo(ctx, a.at(region, orders))
	if err != nil {
		return err.Error()
	}
	defer c.Close(ctx)

	var streams bool
	if err := c.QueryRow(ctx, "SELECT pg_is_in_recovery() AND EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')").Scan(&streams); err != nil || !streams {
		return fmt.Sprintf("PostgreSQL in %s streams: %v %v", region, streams, err)
	}

	return ""
}

// customers lets customers buy and clients use the registers, until they are told to leave.
func (a *arena) customers(seed int64) (leave func() shop.Summary) {
	a.Helper()

	begin, stop := context.WithTimeout(a.Context(), limit)
	defer stop()

	for _, r := range a.registers {
		if err := r.Begin(begin); err != nil {
			a.Fatalf("the register of %s cannot be written: %v", r.Shard, err)
		}
	}

	ctx, end := context.WithCancel(a.Context())

	var all sync.WaitGroup
	for _, r := range a.registers {
		all.Go(func() { r.Use(ctx, 3, uint64(seed)) })
	}

	var sum shop.Summary

	all.Go(func() {
		p, err := platform(a.open(), func(id targets.ShardID) (targets.Instance, error) { return a.open().Through(id) })
		if err == nil {
			sum, err = shop.Run(ctx, shop.TrafficOptions{Platform: p, Proxied: true, Parts: shop.Pooled, Rate: 20, Clients: 3, Journal: a.journal, Saga: 100 * time.Millisecond, Seed: seed})
		}

		if err != nil && ctx.Err() == nil {
			a.Errorf("the traffic: %v", err)
		}
	})

	return func() shop.Summary {
		end()
		all.Wait()

		return sum
	}
}

// platform is the shop on the instances that at finds.
func platform(l *lab.Lab, at func(targets.ShardID) (targets.Instance, error)) (p shop.Platform, err error) {
	pg, err := at(orders)
	if err != nil {
		return p, err
	}

	rd, err := at(carts)
	if err != nil {
		return p, err
	}
	p = shop.Platform{Group: "shop", Postgres: []targets.Instance{pg}, Redis: []targets.Instance{rd}}
	p.Media, err = l.Instance(lab.East, targets.ShardID{Target: "media", Shard: "0"}) // it stays

	return p, err
}
