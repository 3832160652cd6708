package postgres_test

import (
	"context"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/barrier"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

func gateOptions() barrier.Options {
	return barrier.Options{Group: "shop", Lease: 5 * time.Minute, Budget: time.Minute, Patience: 2 * time.Minute, LockTimeout: 30 * time.Second}
}

// The gate is held while the work runs, by a role that may do nothing else, and
// stops nobody who does not ask for it.
func TestTheGateIsHeldAlone(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	run(t, c, "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")

	weak := in
	weak.User = "weak"
	gate := barrier.Party{Quiescer: d, Instance: weak}
	work := func(context.Context) error {
		if gateFree(t, in) {
			t.Error("the gate is free while the work runs")
		}

		if !writes(t, in, time.Minute) {
			t.Error("a writer of one shard is stopped")
		}

		if n := value[int](t, c, "SELECT count(*)::int FROM pg_locks WHERE locktype = 'relation' AND mode = 'ShareLock'"); n != 0 {
			t.Errorf("%d tables are locked", n)
		}

		return nil
	}

	_, err := barrier.HoldGate(t.Context(), gate, gateOptions(), work)
	wantCode(t, err, fail.Denied, `GRANT pg_monitor TO "weak"`)
	run(t, c, "GRANT pg_monitor TO weak")

	held, err := barrier.HoldGate(t.Context(), gate, gateOptions(), work)
	if err != nil || held.Tries != 1 || !held.To.After(held.From) || held.Stall < held.To.Sub(held.From) {
		t.Fatalf("%+v: %v", held, err)
	}

	if !gateFree(t, in) {
		t.Error("the gate is still held")
	}

	m := join(t, d, weak, targets.JoinRequest{CutID: "x", Group: "shop", Lease: time.Minute, Budget: time.Minute, Gate: true, GateOnly: true})
	wantCode(t, m.Lock(t.Context(), time.Minute), fail.Invalid, "gate alone")
}

// A gate that its server let go of meanwhile was not held.
// Whoever takes the gate's key in another database takes another lock: cuts say so.
func TestTheUseOfTheGateIsSeen(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	gate := barrier.Party{Quiescer: d, Instance: in}

	seen := func() targets.GateUse {
		t.Helper()

		held, err := barrier.HoldGate(t.Context(), gate, gateOptions(), func(context.Context) error { return nil })
		if err != nil || held.Use == nil {
			t.Fatalf("%+v: %v", held, err)
		}

		return *held.Use
	}

	if use := seen(); use.Holders != 0 || len(use.Elsewhere) > 0 {
		t.Errorf("with nobody there: %+v", use)
	}

	run(t, c, "CREATE DATABASE pool")

	pool := in
	pool.Database = "pool"
	take := "SELECT pg_advisory_lock_shared(hashtextextended('" + postgres.GateKey("shop") + "', 0))"
	run(t, open(t, pool), take)

	if use := seen(); use.Holders != 0 || !slices.Equal(use.Elsewhere, []string{"pool"}) {
		t.Errorf("with the key held in another database: %+v", use)
	}

	here := open(t, in)
	run(t, here, take)

	time.AfterFunc(time.Second, func() { here.Close(context.Background()) })

	if use := seen(); use.Holders != 1 {
		t.Errorf("with a holder: %+v", use)
	}
}

func TestAGateThatEndedMeanwhileWasNotHeld(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	opt := gateOptions()

	held, err := barrier.HoldGate(t.Context(), barrier.Party{Quiescer: d, Instance: in}, opt, func(context.Context) error {
		run(t, c, "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory' AND granted")
		return nil
	})
	if err == nil || held != (barrier.Held{}) {
		t.Errorf("held %+v", held)
	}
	opt.Lease, opt.Budget = 300*time.Millisecond, 300*time.Millisecond

	held, err = barrier.HoldGate(t.Context(), barrier.Party{Quiescer: d, Instance: in}, opt, func(context.Context) error {
		time.Sleep(time.Second)
		return nil
	})
	if !fail.Is(err, fail.Stalled) || held != (barrier.Held{}) {
		t.Errorf("held %+v beyond its lease: %v", held, err)
	}
}

// letting does something before it asks for the gate.
type letting struct {
	targets.Quiescer
	before func()
}

func (l letting) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	m, err := l.Quiescer.Join(ctx, in, req)
	return letter{m, l.before}, err
}

type letter struct {
	targets.Member
	before func()
}

func (l letter) LockGate(ctx context.Context, wait time.Duration) error {
	l.before()
	return l.Member.LockGate(ctx, wait)
}

// A gate that is not granted leaves nobody waiting behind it: in between, and after
// it gave up, those who share it get through.
func TestNobodyWaitsBehindAGateThatIsNotGranted(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	holder := open(t, in)
	run(t, holder, "BEGIN; SELECT pg_advisory_xact_lock_shared(hashtextextended('drctl/gate/shop', 0))")

	var through, longest atomic.Int64
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	app := open(t, in)

	go func() {
		defer close(ended)
		defer cancel()

		for ctx.Err() == nil {
			began := time.Now()

			if _, err := app.Exec(context.Background(), "SELECT pg_advisory_xact_lock_shared(hashtextextended('drctl/gate/shop', 0))"); err != nil {
				t.Error(err)
				return
			}

			through.Add(1)
			longest.Store(max(longest.Load(), int64(time.Since(began))))
			time.Sleep(time.Millisecond)
		}
	}()

	opt := gateOptions()
	opt.Attempts, opt.LockTimeout = 6, 20*time.Millisecond
	seen := int64(0)
	between := letting{d, func() {
		waitFor(t, "somebody to get through before the next try", func() bool { return through.Load() > seen || ctx.Err() != nil })
		seen = through.Load()
	}}
	_, err := barrier.HoldGate(t.Context(), barrier.Party{Quiescer: between, Instance: in}, opt, func(context.Context) error { t.Error("it ran"); return nil })
	wantCode(t, err, fail.Stalled, "the gate is held by pid")

	cancel()
	<-ended

	if through.Load() < 6 {
		t.Errorf("%d got through between 6 tries", through.Load())
	}

	if n := value[int](t, c, "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"); n != 0 {
		t.Errorf("%d still wait", n)
	}

	t.Logf("%d got through while somebody else held the gate and drctl tried 6 times; the longest wait was %s", through.Load(), time.Duration(longest.Load()))
	run(t, holder, "ROLLBACK")

	if _, err := barrier.HoldGate(t.Context(), barrier.Party{Quiescer: d, Instance: in}, gateOptions(), func(context.Context) error { return nil }); err != nil {
		t.Error(err)
	}
}

// Nobody waits for who has held the gate for longer than the budget: that would
// hold up all others behind the wait.
func TestALongHolderOfTheGateIsNotWaitedFor(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	req := request("20260101T000000.000Z-0021")
	req.Budget = 500 * time.Millisecond
	early := join(t, d, in, req) // nobody holds it yet

	holder := open(t, in)
	run(t, holder, "BEGIN; SELECT pg_advisory_xact_lock_shared(hashtextextended('drctl/gate/shop', 0))")
	wantCode(t, early.LockGate(t.Context(), 20*time.Millisecond), fail.Stalled, "the gate is held by pid")
	time.Sleep(600 * time.Millisecond)

	_, err := tryJoin(t, d, in, req)
	wantCode(t, err, fail.Stalled, "the gate is held by pid")

	waited := make(chan error, 1)
	go func() { waited <- early.LockGate(context.Background(), 10*time.Second) }()

	for {
		select {
		case err := <-waited:
			wantCode(t, err, fail.Stalled, "the gate is held by pid")
			return
		default:
		}

		if n := value[int](t, c, "SELECT count(*)::int FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"); n != 0 {
			t.Fatal("it waits")
		}
	}
}

// warned are a member's warnings, but for that of a machine so slow that its servers seem far.
func warned(m targets.Member) []string {
	return slices.DeleteFunc(m.(targets.Warner).Warnings(), func(w string) bool { return strings.Contains(w, "it is far") })
}

// A table that maintenance holds is left out with its partitions where that is
// allowed, and the position says so. All others are locked.
func TestMaintainedTablesAreLeftOut(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	run(t, c, "CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (200)")

	vacuum := open(t, in)
	run(t, vacuum, "BEGIN")
	run(t, vacuum, "LOCK TABLE parted_1 IN SHARE UPDATE EXCLUSIVE MODE") // what VACUUM takes

	req := request("20260101T000000.000Z-0022")
	_, err := d.Join(ctxFor(t, 2*time.Minute), in, req)
	wantCode(t, err, fail.Stalled, "parted_1")

	req.LeaveOut = true
	m := join(t, d, in, req)

	if err := m.Lock(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}

	if got := value[string](t, c, `SELECT string_agg(relation::regclass::text, ' ' ORDER BY relation::regclass::text COLLATE "C") FROM pg_locks WHERE mode = 'ShareLock' AND locktype = 'relation'`); got != `"Odd ""Name" account` {
		t.Errorf("%s are locked", got)
	}

	w := warned(m)
	if len(w) != 1 || !strings.Contains(w[0], "public.parted") || !strings.Contains(w[0], "parted_1 (pid ") || strings.Contains(w[0], "account") {
		t.Errorf("%q", w)
	}

	if err := m.Release(t.Context()); err != nil {
		t.Fatal(err)
	}

	run(t, vacuum, "ROLLBACK; BEGIN; LOCK TABLE account IN EXCLUSIVE MODE") // it stops writers itself, but for its own

	_, err = d.Join(ctxFor(t, 2*time.Minute), in, req)
	wantCode(t, err, fail.Stalled, "account")
	run(t, vacuum, "ROLLBACK")

	if w := warned(join(t, d, in, req)); len(w) != 0 {
		t.Errorf("%q", w)
	}
}

// A server that is too far away for the budget is refused before anybody is stalled.
func TestJoinRefusesADistantServer(t *testing.T) {
	t.Parallel()
	d, in, _ := quiesced(t)
	req := request("20260101T000000.000Z-0023")
	req.Budget = time.Microsecond
	_, err := d.Join(ctxFor(t, 2*time.Minute), in, req)
	wantCode(t, err, fail.Stalled, "a round trip takes", "raise the policy's budget")
}
