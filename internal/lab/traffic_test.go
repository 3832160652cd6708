package lab

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// shop starts a small platform.
func shop(t *testing.T, shards, carts int, media bool) (Platform, []*sandbox.Proc) {
	t.Helper()
	var p Platform
	var procs []*sandbox.Proc
	for i := range shards {
		proc := new(sandbox.Proc)
		p.Orders = append(p.Orders, sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: fmt.Sprintf("orders/%d", i), Proc: proc}))
		procs = append(procs, proc)
	}
	for i := range carts {
		p.Carts = append(p.Carts, sandboxtest.Redis(t, sandboxtest.RedisOptions{Shard: fmt.Sprintf("carts/%d", i)}))
	}
	if media {
		p.Media = sandboxtest.S3(t, true)
	}
	if err := p.CreateSchema(context.Background(), SchemaOptions{Accounts: 200, Items: 200}); err != nil {
		t.Fatal(err)
	}
	return p, procs
}

func (p Platform) checkOptions(cut targets.Cut, journal string) CheckOptions {
	o := CheckOptions{Cut: cut, Journal: journal, Postgres: map[string]targets.Instance{}, Redis: map[string]targets.Instance{}}
	for i, in := range p.Orders {
		o.Postgres[fmt.Sprint(i)] = in
	}
	for i, in := range p.Carts {
		o.Redis[fmt.Sprint(i)] = in
	}
	if p.Media.Address != "" {
		o.S3 = &p.Media
	}
	return o
}

// cutNow is a cut of a platform that nobody uses.
func cutNow() targets.Cut {
	now := time.Now()
	return targets.Cut{ID: "now", FencedAt: now, ReleasedAt: now}
}

func traffic1(t *testing.T, p Platform, journal string, d time.Duration, style Style, gate bool) TrafficReport {
	t.Helper()
	rep, err := Traffic(context.Background(), TrafficOptions{Platform: p, Journal: journal, Rate: 300, Clients: 4, Style: style, Gate: gate,
		Duration: d, ImageBytes: 4096, Seed: 7})
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func mustCheck(t *testing.T, opt CheckOptions) Report {
	t.Helper()
	rep, err := Check(context.Background(), opt)
	if err != nil {
		t.Fatal(err)
	}
	return rep
}

func TestTrafficKeepsThePromises(t *testing.T) {
	p, _ := shop(t, 3, 2, true)
	journal := filepath.Join(t.TempDir(), "journal")
	for _, style := range []Style{TwoPhase, Plain, Mix} {
		for _, gate := range []bool{true, false} {
			rep := traffic1(t, p, journal, time.Second, style, gate)
			if rep.FailedTransactions() != 0 || rep.Unknown[Cart] != 0 || rep.Acked[Transfer] == 0 || rep.Acked[Order] == 0 || rep.Acked[Cart] == 0 || rep.Acked[Image] == 0 {
				t.Fatalf("style %s gate %v: %+v", style, gate, rep)
			}
			if len(rep.Seconds) == 0 || rep.P50 == 0 || rep.Max < rep.P99 {
				t.Fatalf("no latencies: %+v", rep)
			}
		}
	}
	rep := mustCheck(t, p.checkOptions(cutNow(), journal))
	if !rep.OK() || rep.Before == 0 || rep.Carts == 0 || rep.Objects == 0 {
		t.Fatalf("%+v\n%s", rep, rep.Summary())
	}
	t.Log(rep.Summary())
}

func TestTrafficSurvivesADyingShard(t *testing.T) {
	p, procs := shop(t, 2, 1, false)
	journal := filepath.Join(t.TempDir(), "journal")
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	type result struct {
		rep TrafficReport
		err error
	}
	done := make(chan result, 1)
	go func() {
		rep, err := Traffic(ctx, TrafficOptions{Platform: p, Journal: journal, Rate: 200, Clients: 4, Style: TwoPhase, Gate: true, OpTimeout: 2 * time.Second})
		done <- result{rep, err}
	}()
	time.Sleep(time.Second)
	if err := procs[1].Kill(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	select {
	case r := <-done:
		t.Fatalf("the traffic ended: %+v", r)
	default:
	}
	proc, err := restart(t, p.Orders[1])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = proc.Kill() })
	time.Sleep(2500 * time.Millisecond)
	cancel()
	r := <-done
	if r.err != nil || r.rep.FailedTransactions() == 0 || r.rep.InDoubt != 0 || r.rep.Acked[Transfer] == 0 {
		t.Fatalf("%+v", r)
	}
	rep := mustCheck(t, p.checkOptions(cutNow(), journal))
	if !rep.OK() {
		t.Fatal(rep.Summary())
	}
}

// restart starts a server again where it was.
func restart(t *testing.T, in targets.Instance) (sandbox.Proc, error) {
	t.Helper()
	_, port, err := hostPort(in.Address)
	if err != nil {
		return sandbox.Proc{}, err
	}
	return sandboxtest.Tools(t).StartPostgres(context.Background(), sandbox.PostgresSpec{Dir: in.DataDir, Port: int(port),
		Settings: map[string]string{"max_prepared_transactions": "64", "fsync": "off", "shared_buffers": "16MB", "max_connections": "60"}})
}

// A traffic process that was killed leaves prepared transactions; the next one
// finds out which way they were decided.
func TestTrafficResolvesWhatACrashLeft(t *testing.T) {
	ctx := context.Background()
	p, _ := shop(t, 2, 0, false)
	plant := func(i int, id string, sign int, commit bool) {
		t.Helper()
		c, err := dial(ctx, p.Orders[i], "test")
		if err != nil {
			t.Fatal(err)
		}
		defer closeConn(c)
		gid := gidOf(Record{ID: id, Shards: []int{0, 1}})
		sql := fmt.Sprintf("BEGIN;UPDATE accounts SET balance = balance + %d WHERE id = 1;INSERT INTO transfers VALUES ('%s','2pc',%d,%d,0);PREPARE TRANSACTION '%s'",
			sign*9, id, 1-i, sign*9, gid)
		if err := c.exec(ctx, sql); err != nil {
			t.Fatal(err)
		}
		if commit {
			if err := c.exec(ctx, "COMMIT PREPARED '"+gid+"'"); err != nil {
				t.Fatal(err)
			}
		}
	}
	const decided = "00000000-0000-4000-8000-000000000001"
	plant(0, decided, -1, true)
	plant(1, decided, 1, false)
	journal := filepath.Join(t.TempDir(), "journal")
	rep := traffic1(t, p, journal, 300*time.Millisecond, TwoPhase, false)
	if rep.Resolved != 1 || rep.InDoubt != 0 {
		t.Fatalf("%+v", rep)
	}
	if r := mustCheck(t, p.checkOptions(cutNow(), journal)); !r.OK() {
		t.Fatal(r.Summary())
	}
	const undecided = "00000000-0000-4000-8000-000000000002"
	other := gidOf(Record{ID: undecided, Shards: []int{0, 1}})
	c, err := dial(ctx, p.Orders[0], "test")
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(c)
	if err := c.exec(ctx, "BEGIN;UPDATE accounts SET balance = balance - 7 WHERE id = 1;PREPARE TRANSACTION '"+other+"'"); err != nil {
		t.Fatal(err)
	}
	if rep = traffic1(t, p, journal, 300*time.Millisecond, TwoPhase, false); rep.Resolved != 1 {
		t.Fatalf("%+v", rep)
	}
	if r := mustCheck(t, p.checkOptions(cutNow(), journal)); !r.OK() {
		t.Fatal(r.Summary())
	}
}
