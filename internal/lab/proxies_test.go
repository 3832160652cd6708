package lab_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	goredis "github.com/redis/go-redis/v9"

	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/lab"
	"drctl/internal/lab/shop"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// proxied is a small lab with proxies, a shop set up on it, and the shop as customers
// reach it and as it is.
type proxied struct {
	*testing.T
	lab             *lab.Lab
	opt             lab.Options
	through, direct shop.Platform
}

func newProxied(t *testing.T) *proxied {
	t.Helper()

	p := &proxied{T: t, opt: lab.Options{Dir: filepath.Join(sandboxtest.Dir(t), "lab"), Shards: 2, Redis: 1, Proxies: true, Tools: sandboxtest.Tools(t)}}
	p.up()
	t.Cleanup(func() { _ = p.lab.Down(context.Background(), true) })

	for _, id := range append(p.lab.Shards("orders"), p.lab.Shards("carts")...) {
		in, err := p.lab.Instance(lab.East, id)
		if err != nil {
			t.Fatal(err)
		}

		by, err := p.lab.Through(id)
		if err != nil {
			t.Fatal(err)
		}

		if by.Address == in.Address {
			t.Fatalf("%s has no proxy", id)
		}

		if in.Kind == targets.Postgres {
			p.direct.Postgres, p.through.Postgres = append(p.direct.Postgres, in), append(p.through.Postgres, by)
		} else {
			p.direct.Redis, p.through.Redis = append(p.direct.Redis, in), append(p.through.Redis, by)
		}
	}

	media, err := p.lab.Through(targets.ShardID{Target: "media", Shard: "0"})
	if err != nil {
		t.Fatal(err)
	}
	p.direct.Media, p.through.Media, p.direct.Group, p.through.Group = media, media, "shop", "shop"

	if err := shop.Setup(t.Context(), p.direct, shop.SetupOptions{Accounts: 200, SKUs: 200, Realistic: true}); err != nil {
		t.Fatal(err)
	}

	return p
}

func (p *proxied) up() {
	p.Helper()

	l, err := lab.Up(p.Context(), p.opt)
	if err != nil {
		p.Fatal(err)
	}
	p.lab = l
}

// tell tells a shard's PgBouncer something, waits until it has done it, and returns the
// states that it answers with.
func (p *proxied) tell(shard int, command string) (states []string, err error) {
	cfg, err := pgx.ParseConfig(sandboxtest.DSN(p.through.Postgres[shard], "pgbouncer"))
	if err != nil {
		return nil, err
	}

	ctx, cancel := context.WithTimeout(p.Context(), 30*time.Second)
	defer cancel()

	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	defer c.Close(ctx)

	results, err := c.PgConn().Exec(ctx, command).ReadAll()
	for _, r := range results {
		at := slices.IndexFunc(r.FieldDescriptions, func(f pgconn.FieldDescription) bool { return f.Name == "state" })
		for _, row := range r.Rows {
			states = append(states, string(row[at]))
		}
	}

	return states, err
}

// settled waits until the PgBouncers have made no connection to a server for a while: one
// that is paused meanwhile takes that for a server that fails, and refuses clients.
func (p *proxied) settled() {
	p.Helper()

	end, since, last := time.Now().Add(time.Minute), time.Now(), 0
	for time.Since(since) < 300*time.Millisecond {
		time.Sleep(10 * time.Millisecond)

		n := 0
		for i := range p.through.Postgres {
			states, err := p.tell(i, "SHOW SERVERS")
			if err != nil {
				p.Fatal(err)
			}

			n += len(states)

			for _, s := range states {
				if s != "active" && s != "idle" && s != "used" {
					since = time.Now() // it is being made
				}
			}
		}

		if n != last {
			last, since = n, time.Now()
		}

		if time.Now().After(end) {
			p.Fatal("the poolers go on making connections")
		}
	}
}

// all tells all PgBouncers something at the same time.
func (p *proxied) all(command string) {
	p.Helper()

	errs := make([]error, len(p.through.Postgres))

	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() { _, errs[i] = p.tell(i, command) })
	}

	wg.Wait()

	if err := errors.Join(errs...); err != nil {
		p.Fatalf("%s: %v", command, err)
	}
}

// pause pauses all shards for a while, in which certainly nothing was acknowledged.
func (p *proxied) pause(long time.Duration) (since, until time.Time) {
	p.Helper()
	p.settled()
	p.all("PAUSE shop")
	time.Sleep(100 * time.Millisecond) // for customers who were answered and have not looked yet

	since = time.Now()
	time.Sleep(long)
	until = time.Now()

	p.all("RESUME shop")

	return since, until
}

// shut ends all sessions with the Redis master, and lets nobody in for a while.
func (p *proxied) shut(long time.Duration) (at [2]time.Time) {
	p.Helper()

	i := slices.IndexFunc(p.lab.Proxies(), func(s lab.Server) bool { return s.Shard.Target == "carts" })

	runtime := func(command string) {
		p.Helper()

		c, err := net.Dial("tcp", p.lab.Proxies()[i].Proc.Address)
		if err != nil {
			p.Fatal(err)
		}
		defer c.Close()

		if _, err := fmt.Fprintln(c, command); err != nil {
			p.Fatal(err)
		}

		if said, err := io.ReadAll(c); err != nil || strings.TrimSpace(string(said)) != "" {
			p.Fatalf("%s: %q, %v", command, said, err)
		}
	}

	runtime("set server carts-0/store state maint")
	runtime("shutdown sessions server carts-0/store")
	time.Sleep(100 * time.Millisecond)

	at[0] = time.Now()
	time.Sleep(long)
	at[1] = time.Now()

	runtime("set server carts-0/store state ready")

	return at
}

// TestPausedProxies: customers whose shards are all paused at the same time, in the middle of
// their transactions over several shards, see a pause and no error, and the pause is
// measured at least as long as it was.
func TestPausedProxies(t *testing.T) {
	p := newProxied(t)

	path, err := p.lab.WriteConfig(lab.Settings{Mode: "auto"})
	if err != nil {
		t.Fatal(err)
	}

	c, err := config.Load(path, os.LookupEnv)
	if err != nil {
		t.Fatal(err)
	}

	if routes := c.Groups["shop"].Routes; len(routes) != 3 {
		t.Errorf("the configuration has %d routes, want one for each proxy", len(routes))
	}

	ctx, leave := context.WithCancel(t.Context())

	done, buying := make(chan shop.Summary, 1), make(chan shop.Second, 100)
	journal := p.lab.Journal()

	go func() {
		sum, err := shop.Run(ctx, shop.TrafficOptions{Platform: p.through, Proxied: true, Parts: shop.Pooled, Rate: 200, Clients: 4, Journal: journal,
			Saga: 100 * time.Millisecond, Pulse: 10 * time.Millisecond, Outages: 100 * time.Millisecond,
			Progress: func(s shop.Second) {
				if s.Ops > 0 {
					select {
					case buying <- s:
					default:
					}
				}
			}})
		if err != nil {
			t.Error(err)
		}

		done <- sum
	}()

	select {
	case <-buying:
	case <-time.After(time.Minute):
		t.Fatal("nobody buys")
	}

	var pauses [2][2]time.Time
	for i := range pauses { // transactions over both shards are met in the middle, sooner or later
		time.Sleep(200 * time.Millisecond)
		pauses[i][0], pauses[i][1] = p.pause(300 * time.Millisecond)
	}

	shut := p.shut(300 * time.Millisecond)

	time.Sleep(500 * time.Millisecond)
	p.serving(journal, fail.Conflict) // nothing is judged while customers buy

	leave()
	sum := <-done

	if sum.Errors != 0 || sum.Acked < 100 {
		t.Errorf("%d client errors, %d acknowledged: %v", sum.Errors, sum.Acked, sum.Reasons)
	}

	if len(sum.Stores) != 3 {
		t.Fatalf("%d stores are measured", len(sum.Stores))
	}

	for _, s := range sum.Stores {
		t.Logf("%s: %d writes, p50 %s, p99 %s, max %s, outage %s, %d over 100ms", s.Store, s.Acked, s.P50, s.P99, s.Max, s.Longest.Length, len(s.Outages))
	}

	for _, s := range sum.Stores[:2] {
		for _, at := range pauses {
			if !slices.ContainsFunc(s.Outages, func(o shop.Outage) bool { return o.Begin.Before(at[0]) && o.End.After(at[1]) }) {
				t.Errorf("%s was paused from %s to %s, and that is not among its outages: %+v", s.Store, at[0], at[1], s.Outages)
			}
		}

		if s.Longest.Length < pauses[0][1].Sub(pauses[0][0]) {
			t.Errorf("%s: the longest outage is %s", s.Store, s.Longest.Length)
		}
	}

	if carts := sum.Stores[2]; !slices.ContainsFunc(carts.Outages, func(o shop.Outage) bool { return o.Begin.Before(shut[0]) && o.End.After(shut[1]) }) || sum.Again == 0 {
		t.Errorf("%s was shut from %s to %s, and that is not among its outages: %+v", carts.Store, shut[0], shut[1], carts.Outages)
	}

	t.Logf("%d times again", sum.Again)

	p.serving(journal, "")
	p.otherSide(journal)
}

// otherSide loses the servers in East when West has everything, and lets West lead.
func (p *proxied) otherSide(journal string) {
	p.Helper()

	var west shop.Platform
	for _, id := range append(p.lab.Shards("orders"), p.lab.Shards("carts")...) {
		in, err := p.lab.Instance(lab.West, id)
		if err != nil {
			p.Fatal(err)
		}

		if in.Kind == targets.Postgres {
			west.Postgres = append(west.Postgres, in)
		} else {
			west.Redis = append(west.Redis, in)
		}
	}
	west.Media, west.Group = p.direct.Media, "shop"

	for end := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		rep, err := shop.CheckServing(p.Context(), shop.CheckOptions{Platform: west, Journals: []string{journal}})
		if err == nil && rep.OK {
			break
		}

		if time.Now().After(end) {
			p.Fatalf("the standbys do not come to have what was acknowledged: %v: %+v", err, rep)
		}
	}

	p.promote(west)

	if err := p.lab.Leads(p.Context(), lab.West); !fail.Is(err, fail.Conflict) {
		p.Errorf("both sides take writes, and nobody says so: %v", err)
	}

	for _, name := range []string{"east/orders/0", "east/orders/1", "east/carts/0", "proxy/carts/0"} {
		if err := p.lab.Break(p.Context(), "destroy", name); err != nil {
			p.Fatal(err)
		}
	}

	p.up()

	if err := p.lab.Leads(p.Context(), lab.West); err != nil {
		p.Errorf("what was made anew in east does not follow west: %v", err)
	}

	through, direct := goredis.NewClient(&goredis.Options{Addr: p.through.Redis[0].Address, Password: p.through.Redis[0].Password.Reveal()}),
		goredis.NewClient(&goredis.Options{Addr: west.Redis[0].Address, Password: west.Redis[0].Password.Reveal()})
	defer through.Close()
	defer direct.Close()

	if err := through.Set(p.Context(), "drctl:test", "here", 0).Err(); err != nil {
		p.Error(err)
	}

	if got, err := direct.Get(p.Context(), "drctl:test").Result(); got != "here" {
		p.Errorf("a proxy that is started leads elsewhere than to the master: %q, %v", got, err)
	}
}

// promote lets standbys take writes.
func (p *proxied) promote(side shop.Platform) {
	p.Helper()

	for _, in := range side.Postgres {
		c, err := pgx.Connect(p.Context(), sandboxtest.DSN(in, "shop"))
		if err != nil {
			p.Fatal(err)
		}

		_, err = c.Exec(p.Context(), "SELECT pg_promote()")
		_ = c.Close(p.Context())

		if err != nil {
			p.Fatal(err)
		}
	}

	for _, in := range side.Redis {
		c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal()})
		err := c.Do(p.Context(), "REPLICAOF", "NO", "ONE").Err()
		_ = c.Close()

		if err != nil {
			p.Fatal(err)
		}
	}
}

// serving checks the primaries against the journal.
func (p *proxied) serving(journal string, want fail.Code) {
	p.Helper()

	if err := p.lab.Leads(p.Context(), lab.East); err != nil {
		p.Error(err)
	}

	if err := p.lab.Leads(p.Context(), lab.West); !fail.Is(err, fail.Conflict) {
		p.Errorf("the standbys are taken for primaries: %v", err)
	}

	rep, err := shop.CheckServing(p.Context(), shop.CheckOptions{Platform: p.direct, Journals: []string{journal}})

	switch {
	case want != "":
		if !fail.Is(err, want) {
			p.Errorf("got %v, want %s", err, want)
		}
	case err != nil:
		p.Error(err)
	case !rep.OK || rep.Checked[shop.RuleAcked] == 0 || rep.LostAfterCut != 0:
		p.Errorf("%+v", rep)
	}
}
