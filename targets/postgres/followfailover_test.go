package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

func promote(t *testing.T, standby targets.Instance) *pgx.Conn {
	t.Helper()
	c := open(t, standby)
	run(t, c, "SELECT pg_promote(true, 120)")

	return c
}

// caughtUp waits until a standby has replayed what its primary has written.
func caughtUp(t *testing.T, primary, standby *pgx.Conn) {
	t.Helper()

	at := lsn(t, primary, "SELECT pg_current_wal_flush_lsn()::text")
	for try := 0; lsn(t, standby, "SELECT coalesce(pg_last_wal_replay_lsn(), '0/0')::text") < at; try++ {
		if try == 6000 {
			t.Fatal("the standby does not catch up")
		}

		time.Sleep(20 * time.Millisecond)
	}
}

func TestFollowThroughPromotion(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	var proc servers.Server
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &proc})
	standby := sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{Settings: map[string]string{"wal_keep_size": "1GB"}})
	c, sc := open(t, in), open(t, standby)
	one := timelineOf(t, d, in)
	two := strings.TrimSuffix(one, "1") + "2"

	// a follows the standby and is there when it is promoted, with a vault away
	// so that nothing becomes durable; b follows the primary, stops before its
	// end, and meets the new primary later.
	a, b := newArchive(), newArchive()
	a.auto = false
	stopB := follow(t, d, in, b)
	fill(t, c, 3<<20)
	caughtUp(t, c, sc)
	b.reach(t, one, lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"))
	_ = stopB()
	stopA := follow(t, d, standby, a)
	fill(t, c, 3<<20)
	caughtUp(t, c, sc)

	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}
	nc := promote(t, standby)
	fill(t, nc, 20<<20)
	end := lsn(t, nc, "SELECT pg_current_wal_flush_lsn()::text")
	a.reach(t, two, end)
	_ = stopA() // they share the slot

	follow(t, d, standby, b)
	b.reach(t, two, end)

	for name, x := range map[string]*archive{"a": a, "b": b} {
		l := x.timelines[two]

		sw := l.parent.Offset
		if l.parent.Timeline != one || sw == 0 || l.start != sw-sw%segment || !bytes.Contains(l.history, []byte(targets.FormatLSN(sw))) {
			t.Fatalf("%s: timeline 2 begins at %s, parent %+v, history %q", name, targets.FormatLSN(l.start), l.parent, l.history)
		}

		if got := x.timelines[one].end(); got != sw {
			t.Fatalf("%s: timeline 1 ends at %s, the switch is at %s", name, targets.FormatLSN(got), targets.FormatLSN(sw))
		}

		if sameAsServer(t, x, two, standby) < segment || len(l.holes)+len(x.timelines[one].holes) > 0 {
			t.Fatalf("%s: too little compared, or holes", name)
		}
	}
	// The former primary comes back and is refused.
	back, err := sandboxtest.Tools(t).StartPostgres(ctxFor(t, 2*time.Minute), servers.PostgresSpec{Dir: in.DataDir,
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = back.Kill() })
	old := in
	old.Address = back.Address
	wantCode(t, d.Follow(ctxFor(t, 2*time.Minute), old, b), fail.Conflict, "former primary")
}

func TestFollowSlotLost(t *testing.T) {
	t.Parallel()
	d, log := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"max_slot_wal_keep_size": "16MB", "max_wal_size": "32MB", "min_wal_size": "32MB"}})
	c := open(t, in)
	id := timelineOf(t, d, in)
	a := newArchive()
	stop := follow(t, d, in, a)
	fill(t, c, 1<<20)
	a.reach(t, id, lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"))
	_ = stop()
	was := a.timelines[id].end()

	warned := false
	for range 8 {
		fill(t, c, 12<<20)

		st, err := d.Probe(ctxFor(t, 2*time.Minute), in)
		if err != nil {
			t.Fatal(err)
		}
		warned = warned || (st.Held < 80<<20 && strings.Contains(strings.Join(st.Warnings, "\n"), "until it is lost"))

		run(t, c, "SELECT pg_switch_wal()")
		run(t, c, "CHECKPOINT")
	}

	if s := value[string](t, c, "SELECT wal_status FROM pg_replication_slots WHERE slot_name = 'drctl'"); s != "lost" {
		t.Fatalf("the slot is %s, the test wants it lost", s)
	}

	if !warned {
		t.Fatal("the probe did not warn before the slot was lost")
	}

	follow(t, d, in, a)
	fill(t, c, 1<<20)
	a.reach(t, id, lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"))

	l := a.timelines[id]
	if len(l.holes) != 1 || l.holes[0].From != was || l.holes[0].To%segment != 0 {
		t.Fatalf("holes %+v", l.holes)
	}

	if s := log.String(); !strings.Contains(s, "level=ERROR") || !strings.Contains(s, "take a new base") {
		t.Fatalf("the hole was not logged as an error: %s", s)
	}

	sameAsServer(t, a, id, in)
}

func TestFollowOtherCluster(t *testing.T) {
	t.Parallel()
	d, log := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})

	a := newArchive()
	if err := a.Begin(context.Background(), "42-00000001", 0, targets.Position{}, nil); err != nil {
		t.Fatal(err)
	}

	follow(t, d, in, a)
	c := open(t, in)
	run(t, c, "CREATE TABLE x ()")
	a.reach(t, timelineOf(t, d, in), lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"))

	if !strings.Contains(log.String(), "another cluster") || !strings.Contains(log.String(), "level=ERROR") {
		t.Fatalf("log: %s", log.String())
	}
}

// An archive that has given up ends the following: while an idle server sends
// nothing, and behind a promotion.
func TestFollowReturnsWhyTheArchiveGaveUp(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	var proc servers.Server
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &proc})
	standby := sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{Settings: map[string]string{"wal_keep_size": "1GB"}})
	c, sc := open(t, in), open(t, standby)
	id := timelineOf(t, d, in)
	fill(t, c, 1<<20)
	caughtUp(t, c, sc)
	ends := func(a *archive, what string, done <-chan error) {
		t.Helper()
		a.mu.Lock()
		a.gaveUp = fail.Newf(fail.Unavailable, "archive", "vault", "no vault answers")
		a.mu.Unlock()

		select {
		case err := <-done:
			wantCode(t, err, fail.Unavailable, "no vault answers")
		case <-time.After(2 * time.Minute):
			t.Fatalf("%s: Follow goes on without an archive", what)
		}
	}
	begin := func(a *archive) <-chan error {
		done := make(chan error, 1)
		go func() { done <- d.Follow(ctxFor(t, 5*time.Minute), standby, a) }()

		a.reach(t, id, lsn(t, sc, "SELECT pg_last_wal_replay_lsn()::text"))

		return done
	}
	idle := newArchive()
	ends(idle, "idle", begin(idle))

	stuck := newArchive()
	stuck.auto = false
	done := begin(stuck)

	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}

	promote(t, standby)
	stuck.reach(t, strings.TrimSuffix(id, "1")+"2", lsn(t, sc, "SELECT pg_current_wal_flush_lsn()::text"))
	ends(stuck, "on a new timeline, with nothing durable", done)
}

// A primary that was put back to an earlier state writes another log at the
// same positions. It is refused until it has a timeline of its own.
func TestFollowRefusesAServerThatWentBack(t *testing.T) {
	t.Parallel()
	var proc servers.Server
	w := newWorld(t, sandboxtest.PostgresOptions{Proc: &proc})
	earlier := w.in.DataDir + "-earlier"
	w.changed(t, &proc, nil, func() { shell(t, "cp", "-a", w.in.DataDir, earlier) })
	fill(t, w.c, 3<<20)
	w.a.reach(t, w.id, lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text"))
	was := w.a.timelines[w.id].end()

	back := func(standby bool) {
		shell(t, "rm", "-rf", w.in.DataDir)
		shell(t, "cp", "-a", earlier, w.in.DataDir)

		if standby {
			signal := filepath.Join(w.in.DataDir, "standby.signal")
			if err := errors.Join(os.WriteFile(signal, nil, 0o600), sandboxtest.Tools(t).RunAs.Own(signal)); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.changed(t, &proc, nil, func() { back(false) })
	run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
	wantCode(t, w.d.Follow(ctxFor(t, 2*time.Minute), w.in, w.a), fail.Conflict, "earlier state", "pg_promote")

	if end := w.a.timelines[w.id].end(); end != was {
		t.Fatalf("the archive went on from %s to %s", targets.FormatLSN(was), targets.FormatLSN(end))
	}

	// What the error says to do works.
	w.changed(t, &proc, map[string]string{"hot_standby": "on"}, func() { back(true) })
	run(t, w.c, "SELECT pg_promote(true, 120)")
	run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
	two := timelineOf(t, w.d, w.in)
	_ = w.stop()
	w.stop = follow(t, w.d, w.in, w.a)
	w.a.reach(t, two, lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text"))

	if l := w.a.timelines[two]; two == w.id || l.parent.Timeline != w.id || l.parent.Offset >= was {
		t.Fatalf("timeline %s, parent %+v", two, l.parent)
	}
}

func shell(t *testing.T, name string, args ...string) {
	t.Helper()

	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}
