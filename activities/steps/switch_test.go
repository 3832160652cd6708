package steps_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/activities/section"
	"drctl/activities/steps"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/traffic"
	"drctl/internal/traffic/pgbouncer"
	"drctl/restore/failover"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres"
	"drctl/targets/redis"
)

// limit bounds every section of a test; nothing is asserted of how long it takes.
const limit = 3 * time.Minute

// platform are two PostgreSQL shards and a Redis master with their standbys, and a
// pooler before each shard of PostgreSQL.
type platform struct {
	*testing.T
	drivers map[targets.Kind]handover.Switcher
	at      map[targets.ShardID]map[string]targets.Instance // by region
	poolers map[targets.ShardID]servers.Server
	routes  traffic.Set
}

func shard(s string) targets.ShardID {
	id, err := targets.ParseShardID(s)
	if err != nil {
		panic(err)
	}

	return id
}

func newPlatform(t *testing.T) *platform {
	t.Helper()

	settings := map[string]string{"max_connections": "100", "wal_retrieve_retry_interval": "100ms"}
	p := &platform{T: t, at: map[targets.ShardID]map[string]targets.Instance{}, poolers: map[targets.ShardID]servers.Server{},
		drivers: map[targets.Kind]handover.Switcher{
			targets.Postgres: postgres.New(postgres.Options{Tools: sandboxtest.Tools(t), SlotName: "drctl"}), targets.Redis: redis.New(redis.Options{})}}

	for _, name := range []string{"orders/0", "orders/1"} {
		id := shard(name)
		a := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: name, Settings: settings})
		p.exec(a, "CREATE TABLE t (id bigint PRIMARY KEY)")
		b := sandboxtest.Standby(t, a, sandboxtest.PostgresOptions{Settings: settings})
		a.Shard, b.Shard = id, id
		p.at[id] = map[string]targets.Instance{"east": a, "west": b}

		spec := &servers.PgBouncerSpec{Databases: map[string]string{"shop": a.Address}, Settings: map[string]string{"server_login_retry": "0.1"}}
		p.poolers[id] = sandboxtest.PgBouncer(t, spec)

		r := traffic.Route{Name: "orders-" + id.Shard, Kind: traffic.PgBouncer, Shard: id, Regions: []string{"east", "west"}}

		d, err := pgbouncer.New(pgbouncer.Spec{Route: r, Poolers: []pgbouncer.Pooler{{Address: p.poolers[id].Address, File: spec.DatabasesFile()}}, Database: "shop",
			User: "drctl", Password: targets.NewSecret(sandboxtest.Password), Backends: map[string]string{"east": a.Address, "west": b.Address}})
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(d.Close)
		p.routes = append(p.routes, traffic.Bound{Route: r, Driver: d})
	}

	id := shard("carts/0")
	a := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	b := sandboxtest.RedisReplica(t, a, sandboxtest.RedisOptions{})
	a.Shard, b.Shard = id, id
	p.at[id] = map[string]targets.Instance{"east": a, "west": b}

	return p
}

func (p *platform) exec(in targets.Instance, sql string) {
	p.Helper()

	c, err := pgx.Connect(p.Context(), sandboxtest.DSN(in, "shop"))
	if err != nil {
		p.Fatal(err)
	}
	defer c.Close(p.Context())

	if _, err := c.Exec(p.Context(), sql); err != nil {
		p.Fatal(err)
	}
}

// archived moves the archiver's slots: it has everything of a region's servers.
func (p *platform) archived(region string) {
	p.Helper()

	for id := range p.poolers {
		p.exec(p.at[id][region], "SELECT pg_replication_slot_advance(slot_name, pg_current_wal_lsn()) FROM pg_replication_slots WHERE slot_name = 'drctl'")
	}
}

// definition is the derived plan for a switchover.
func (p *platform) definition(from, to string) plan.Definition {
	p.Helper()

	top := failover.Topology{Group: "shop", Regions: []string{"east", "west"}}
	for id, in := range p.at {
		top.Shards = append(top.Shards, failover.Shard{ID: id, Kind: in["east"].Kind, Regions: []string{"east", "west"}})
	}

	for _, b := range p.routes {
		top.Routes = append(top.Routes, failover.Route{Name: b.Route.Name, For: []string{b.Route.Shard.Target}, Holds: b.Driver.Can().Hold})
	}

	def, err := failover.Derive(top, failover.Policy{From: from, To: to}, plan.ModeSwitchover)
	if err != nil {
		p.Fatal(err)
	}

	return def
}

func (p *platform) hands(def plan.Definition, epoch uint64) *steps.Hands {
	p.Helper()

	h := &steps.Hands{To: def.To, Routes: p.routes, Shards: map[targets.ShardID]steps.Shard{}, Defs: map[string]plan.StepDef{}}
	for _, s := range def.Steps {
		h.Defs[s.ID] = s
	}

	for id, in := range p.at {
		sw, err := p.drivers[in["east"].Kind].Switch(handover.Request{Old: in[def.From], New: in[def.To], Epoch: epoch})
		if err != nil {
			p.Fatal(err)
		}
		h.Shards[id] = steps.Shard{Switch: sw}
	}

	p.Cleanup(h.Close)

	return h
}

// journal is a section's journal in memory.
type journal struct {
	mu      sync.Mutex
	entries []section.Entry
}

func (j *journal) Write(_ context.Context, n int, e section.Entry) error {
	j.mu.Lock()
	defer j.mu.Unlock()

	if n != len(j.entries)+1 {
		return fail.Newf(fail.Conflict, "journal", "", "entry %d is there", n)
	}
	j.entries = append(j.entries, e)

	return nil
}

func (j *journal) Read(context.Context) ([]section.Entry, error) {
	j.mu.Lock()
	defer j.mu.Unlock()

	return slices.Clone(j.entries), nil
}

func (p *platform) run(ctx context.Context, def plan.Definition, h section.Hands, j section.Journal) (section.Result, error) {
	p.Helper()

	return section.Run(ctx, section.Options{Steps: def.Outline(plan.ModeSwitchover).Within(failover.SectionSwitch), Hands: h, Journal: j, By: "test", Log: slog.New(slog.DiscardHandler)})
}

// customers write through the poolers, one each, until stop. They never try again.
type customers struct {
	wg     sync.WaitGroup
	ids    atomic.Int64
	wrote  sync.Map // shard to *[]int64, of what was acknowledged
	errs   sync.Map
	longer atomic.Int64 // the longest wait in ns
}

func (p *platform) buy(ctx context.Context) *customers {
	c := &customers{}

	for id, pooler := range p.poolers {
		for range 4 {
			in := p.at[id]["east"]
			in.Address = pooler.Address
			c.wg.Go(func() {
				if err := c.write(ctx, in); err != nil {
					c.errs.Store(in.Shard.String(), err)
				}
			})
		}
	}

	return c
}

func (c *customers) write(ctx context.Context, in targets.Instance) error {
	cfg, err := pgx.ParseConfig(sandboxtest.DSN(in, "shop"))
	if err != nil {
		return err
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeSimpleProtocol

	conn, err := pgx.ConnectConfig(context.Background(), cfg)
	if err != nil {
		return err
	}
	defer conn.Close(context.Background())

	for ctx.Err() == nil {
		id, start := c.ids.Add(1), time.Now()
		if _, err := conn.Exec(context.Background(), "INSERT INTO t VALUES ($1)", id); err != nil {
			return fmt.Errorf("%d: %w", id, err)
		}

		c.wrote.Store(id, in.Shard)

		for took := int64(time.Since(start)); ; {
			if old := c.longer.Load(); took <= old || c.longer.CompareAndSwap(old, took) {
				break
			}
		}

		time.Sleep(3 * time.Millisecond)
	}

	return nil
}

// counted holds what the customers were told against what a region's servers have.
func (p *platform) counted(c *customers, region string) {
	p.Helper()
	c.errs.Range(func(k, v any) bool { p.Errorf("a customer of %v saw an error: %v", k, v); return true })

	n := 0

	have := map[targets.ShardID]map[int64]bool{}
	for id := range p.poolers {
		have[id] = p.rows(p.at[id][region])
	}

	c.wrote.Range(func(k, v any) bool {
		n++

		if !have[v.(targets.ShardID)][k.(int64)] {
			p.Errorf("row %v of %v was acknowledged and is lost", k, v)
		}

		return true
	})
	p.Logf("%d rows acknowledged, the longest wait %s", n, time.Duration(c.longer.Load()))
}

// busy waits until there were customers.
func (p *platform) busy(c *customers) {
	p.Helper()

	for end := time.Now().Add(limit); c.ids.Load() < 120; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			p.Fatal("there were hardly any customers")
		}
	}
}

func (p *platform) rows(in targets.Instance) map[int64]bool {
	p.Helper()

	c, err := pgx.Connect(p.Context(), sandboxtest.DSN(in, "shop"))
	if err != nil {
		p.Fatal(err)
	}
	defer c.Close(p.Context())

	rows, err := c.Query(p.Context(), "SELECT id FROM t")
	if err != nil {
		p.Fatal(err)
	}

	ids, err := pgx.CollectRows(rows, pgx.RowTo[int64])
	if err != nil {
		p.Fatal(err)
	}

	out := map[int64]bool{}
	for _, id := range ids {
		out[id] = true
	}

	return out
}

func (p *platform) masterTakesWrites(region string) {
	p.Helper()

	master := p.at[shard("carts/0")][region]
	r := goredis.NewClient(&goredis.Options{Addr: master.Address, Password: master.Password.Reveal()})
	defer r.Close()

	if err := r.Set(p.Context(), "k", "v", 0).Err(); err != nil {
		p.Errorf("the Redis master in %s takes no writes: %v", region, err)
	}
}

// rejoin makes the old side standbys of the new one.
func (p *platform) rejoin(def plan.Definition) {
	p.Helper()

	for id, in := range p.at {
		got, err := p.drivers[in["east"].Kind].Rejoin(p.Context(), handover.RejoinRequest{Old: in[def.From], New: in[def.To]})
		if err != nil {
			p.Fatalf("%s: rejoin: %v", id, err)
		}

		if got.Method == "rewind" || got.Method == "full" {
			p.Errorf("%s: the old side came back by %s after a planned switchover", id, got.Method)
		}
	}
}

// TestThereAndBack runs the derived plan for a switchover from east to west and home
// again, under customers who see a pause and no error, and lose nothing.
func TestThereAndBack(t *testing.T) {
	p := newPlatform(t)
	ctx, stop := context.WithCancel(t.Context())
	c := p.buy(ctx)

	for i, way := range [][2]string{{"east", "west"}, {"west", "east"}} {
		time.Sleep(300 * time.Millisecond)

		p.archived(way[0])

		def := p.definition(way[0], way[1])
		bounded, cancel := context.WithTimeout(t.Context(), limit)
		res, err := p.run(bounded, def, p.hands(def, uint64(i+2)), &journal{})

		cancel()

		for _, s := range res.Steps {
			t.Logf("%-18s %-8s took %8s, ended after %8s %s", s.ID, s.Status, s.Took.Round(time.Millisecond), s.At.Round(time.Millisecond), s.Error)
		}

		if err != nil || res.Verdict != machine.Reached {
			t.Fatalf("%v: %s", err, res.Verdict)
		}

		p.rejoin(def)
	}

	time.Sleep(300 * time.Millisecond)
	p.busy(c)
	stop()
	c.wg.Wait()
	p.counted(c, "east")

	p.masterTakesWrites("east")
}

// broken are hands one of whose steps fails for ever.
type broken struct {
	*steps.Hands
	step string
}

func (b broken) Do(ctx context.Context, n plan.Node, k section.Known) (json.RawMessage, error) {
	if n.ID == b.step {
		return nil, fail.Newf(fail.Unavailable, "test", n.ID, "planted")
	}

	return b.Hands.Do(ctx, n, k)
}

// TestTakenBack: when the last shard does not become silent, the old side takes
// writes again by itself, and customers have seen a pause and no error.
func TestTakenBack(t *testing.T) {
	p := newPlatform(t)
	ctx, stop := context.WithCancel(t.Context())
	c := p.buy(ctx)

	time.Sleep(200 * time.Millisecond)

	def := p.definition("east", "west")
	bounded, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()

	res, err := p.run(bounded, def, broken{p.hands(def, 2), "fence-orders/1"}, &journal{})
	if err != nil || res.Verdict != machine.TakenBack {
		t.Fatalf("%v: %s: %+v", err, res.Verdict, res.Steps)
	}

	time.Sleep(300 * time.Millisecond)
	p.busy(c)
	stop()
	c.wg.Wait()
	p.counted(c, "east")

	p.masterTakesWrites("east")
}
