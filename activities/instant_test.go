package activities_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/plan"
	"drctl/targets"
)

// TestRestoreToAnInstant: an archiver that was away delivers late what was
// committed before the instant. A restore to the instant holds it, or fails.
func TestRestoreToAnInstant(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	pol := policy(targets.Gate)
	pol.ChunkSize = 64 << 10 // what is caught up with takes many chunks
	a := w.activities(resolver{w, pol})

	db, err := pgx.Connect(t.Context(), sandboxtest.DSN(w.shop.Postgres[0], w.shop.Postgres[0].Database))
	if err != nil {
		t.Fatal(err)
	}

	defer func() { _ = db.Close(context.Background()) }()
	exec := func(sql string) {
		if _, err := db.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	clock := func() (at time.Time) {
		if err := db.QueryRow(t.Context(), "SELECT clock_timestamp()").Scan(&at); err != nil {
			t.Fatal(err)
		}

		return at
	}

	carts := goredis.NewClient(&goredis.Options{Addr: w.shop.Redis[0].Address, Password: w.shop.Redis[0].Password.Reveal()})
	defer carts.Close()
	set := func(key, value string) {
		if err := carts.Set(t.Context(), key, value, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}

	exec("CREATE TABLE entry (n int PRIMARY KEY)")
	exec("CREATE TABLE ballast (x text)")
	exec("INSERT INTO entry VALUES (1)")
	stop := w.follow(t, a)
	w.bases(t, a, "early")
	w.cuts(t, a, 1, 0)
	stop()

	// While the archiver is away: much, an entry, the instant, an entry.
	exec("INSERT INTO ballast SELECT repeat(md5(g::text), 10) FROM generate_series(1, 5000) g")
	exec("INSERT INTO entry VALUES (2)")
	set("before", strings.Repeat("x", 100<<10))
	at := clock()

	exec("INSERT INTO entry VALUES (3)")
	time.Sleep(3 * time.Second) // its absence is longer than a pause of the store

	stop = w.follow(t, a)
	defer stop()

	w.cuts(t, a, 1, 0) // sealed: all of it is in both vaults
	set("received", "1")

	st, err := a.Drivers[targets.Redis].Probe(t.Context(), w.shop.Redis[0])
	if err != nil {
		t.Fatal(err)
	}

	heldBy(t, w.set, w.shop.Redis[0].Shard, st.Position)
	time.Sleep(500 * time.Millisecond)
	received := time.Now()
	time.Sleep(500 * time.Millisecond)
	set("later", "1")
	w.cuts(t, a, 1, 0)

	alone := w.activities(vaultAlone{w.set.Vaults[1]})
	plannedFor := func(kind targets.Kind, at time.Time) (plan.Run, error) {
		return planned(w.set.Vaults[1], plan.Goal{Group: group, At: at, Shards: w.shardsOf(kind), Vault: "west", Into: plan.Sandbox})
	}
	boxes := 0
	run := func(p plan.Run) (activities.SandboxRef, error) {
		boxes++

		box, err := execute[activities.SandboxRef](alone, activities.OpenSandboxName, activities.SandboxIn{ID: fmt.Sprintf("box-%d", boxes), Purpose: "test"}, nil)
		if err != nil {
			t.Fatal(err)
		}

		t.Cleanup(func() { w.discard(t, recovered{box: box}) })
		_, err = execute[plan.StepOut](alone, activities.RestoreShardName, activities.StepIn{Run: plan.Carried{Whole: &p}, StepID: p.Steps[0].ID, Sandbox: box}, nil)

		return box, err
	}
	wantCode := func(err error, code fail.Code, words ...string) {
		t.Helper()

		if !fail.Is(err, code) {
			t.Fatalf("got %v (%s), want %s", err, fail.CodeOf(err), code)
		}

		for _, x := range words {
			if !strings.Contains(err.Error(), x) {
				t.Fatalf("%q does not say %q", err, x)
			}
		}
	}

	p, err := plannedFor(targets.Postgres, at)
	if err != nil {
		t.Fatal(err)
	}

	box, err := run(p)
	if err != nil {
		t.Fatal(err)
	}

	in, err := sandbox.Restored(box.Dir, p.Steps[0].Shard)
	if err != nil {
		t.Fatal(err)
	}

	sb, err := pgx.Connect(t.Context(), fmt.Sprintf("postgres://%s:%s@%s/%s?sslmode=disable", in.User, in.Password.Reveal(), in.Address, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	defer func() { _ = sb.Close(context.Background()) }()

	var got string
	if err := sb.QueryRow(t.Context(), "SELECT coalesce(string_agg(n::text, ',' ORDER BY n), '') FROM entry").Scan(&got); err != nil || got != "1,2" {
		t.Fatalf("restored to the instant: entries %q (%v), want 1,2", got, err)
	}

	// Instants that the archive does not cover.
	_, err = plannedFor(targets.Postgres, time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC))
	wantCode(err, fail.NotFound, "still to come", "drctl cut list")

	if p, err = plannedFor(targets.Postgres, time.Now().Add(20*time.Second)); err == nil {
		_, err = run(p)
	}

	wantCode(err, fail.NotFound, "orders/0", "drctl cut list")
	// The plan says it where the archive ends long before, else the replay.
	if text := err.Error(); !strings.Contains(text, "its newest is of ") && !strings.Contains(text, "was archived up to ") {
		t.Fatalf("%q does not say up to when it was archived", text)
	}
	_, err = plannedFor(targets.Redis, at)
	wantCode(err, fail.NotFound, "carts/0", "the archiver received nothing from", "drctl cut list")
	_, err = plannedFor(targets.Redis, time.Now().Add(20*time.Second))
	wantCode(err, fail.NotFound, "carts/0", "the archive ends at")

	if p, err = plannedFor(targets.Redis, received); err != nil {
		t.Fatal(err)
	}

	if box, err = run(p); err != nil {
		t.Fatal(err)
	}

	if in, err = sandbox.Restored(box.Dir, p.Steps[0].Shard); err != nil {
		t.Fatal(err)
	}

	rs := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal()})
	defer rs.Close()

	if n, err := rs.Exists(t.Context(), "before", "received").Result(); err != nil || n != 2 {
		t.Fatalf("%d of the 2 keys that came before the instant: %v", n, err)
	}

	if n, err := rs.Exists(t.Context(), "later").Result(); err != nil || n != 0 {
		t.Fatalf("a key from after the instant: %d, %v", n, err)
	}
}
