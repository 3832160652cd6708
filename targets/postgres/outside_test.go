package postgres_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// publisher is a live server with a table that the shard subscribes to.
type publisher struct {
	t  *testing.T
	in targets.Instance
}

func newPublisher(t *testing.T) publisher {
	t.Helper()
	p := publisher{t: t, in: sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "catalogue/0",
		Settings: map[string]string{"wal_level": "logical", "log_connections": "on"}})}
	c := open(t, p.in)
	run(t, c, "CREATE TABLE event (n int PRIMARY KEY)")
	run(t, c, "CREATE PUBLICATION events FOR TABLE event")

	return p
}

// slot is where the subscriber's slot stands, and whether somebody reads it.
func (p publisher) slot() string {
	return value[string](p.t, open(p.t, p.in), "SELECT format('%s %s %s', confirmed_flush_lsn, restart_lsn, active) FROM pg_replication_slots WHERE slot_name = 'sub1'")
}

// connections counts the replication connections that were ever admitted.
func (p publisher) connections() int {
	p.t.Helper()

	b, err := os.ReadFile(p.in.DataDir + ".log")
	if err != nil {
		p.t.Fatal(err)
	}

	return strings.Count(string(b), "replication connection authorized")
}

// newSubscriber is a world whose database shop subscribes to the publisher.
func newSubscriber(t *testing.T, p publisher) (*world, *servers.Server) {
	t.Helper()
	var proc servers.Server
	w := newWorld(t, sandboxtest.PostgresOptions{Proc: &proc})
	host, port, _ := strings.Cut(p.in.Address, ":")

	run(t, w.c, "CREATE TABLE event (n int PRIMARY KEY)")
	run(t, w.c, fmt.Sprintf("CREATE SUBSCRIPTION sub1 CONNECTION 'host=%s port=%s dbname=shop user=drctl password=%s' PUBLICATION events", host, port, sandboxtest.Password))

	return w, &proc
}

// A restored subscriber does not read from the publisher: what it took there
// would be lost to the live one.
func TestRestoreJoinsNoReplication(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	w, live := newSubscriber(t, p)
	pc := open(t, p.in)
	run(t, pc, "INSERT INTO event SELECT generate_series(1, 10)")
	waitFor(t, "the first rows", func() bool { return value[int](t, w.c, "SELECT count(*)::int FROM event") == 10 })
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-5b5b")
	w.a.reach(t, w.id, at.Offset)
	_ = w.stop()

	if err := live.Stop(ctxFor(t, 2*time.Minute)); err != nil {
		t.Fatal(err)
	}

	waitFor(t, "the slot to be free", func() bool { return strings.HasSuffix(p.slot(), " f") })
	run(t, pc, "INSERT INTO event SELECT generate_series(11, 20)")
	slot, connections := p.slot(), p.connections()
	untouched := func(when string) {
		t.Helper()

		if got := p.slot(); got != slot {
			t.Fatalf("%s the live publisher's slot went from %s to %s", when, slot, got)
		}

		if n := p.connections(); n != connections {
			t.Fatalf("%s the live publisher admitted %d replication connections more", when, n-connections)
		}
	}

	sb, out := w.restore(t, w.request(base, at))

	c := sandboxOpen(t, sb)
	if n := value[int](t, c, "SELECT count(*)::int FROM pg_stat_activity WHERE backend_type LIKE 'logical replication%'"); n != 0 {
		t.Fatalf("the sandbox runs %d logical replication workers", n)
	}

	if f := finding(t, verify(t, w.d, sb, targets.Expectation{Quick: true}), targets.CheckReplicationOff); f.Severity != targets.Passed {
		t.Fatalf("%+v", f)
	}

	if f := finding(t, out.Findings, "logical subscriptions"); f.Severity != targets.Warned || !strings.Contains(f.Got, "shop.sub1") || !strings.Contains(f.Detail, "DISABLE") {
		t.Fatalf("%+v", f)
	}

	untouched("after a restore into a sandbox")

	if n := value[int](t, c, "SELECT count(*)::int FROM event"); n != 10 {
		t.Fatalf("the sandbox holds %d rows, at the cut there were 10", n)
	}
	_ = c.Close(ctxFor(t, time.Minute))
	stopPid(t, out.Pid)

	w.dir = sandboxtest.Dir(t)
	into := w.sandbox()
	into.Role = targets.Primary

	out, err := w.d.Restore(ctxFor(t, 2*time.Minute), into, w.request(base, at), w.s)
	if err != nil {
		t.Fatal(err)
	}

	if f := finding(t, out.Findings, "logical subscriptions"); f.Severity != targets.Warned || strings.Contains(fmt.Sprint(out.Findings), sandboxtest.Password) {
		t.Fatalf("%+v", out.Findings)
	}

	untouched("after a restore into an instance")

	// The live subscriber comes back and lacks nothing.
	again, err := sandboxtest.Tools(t).StartPostgres(ctxFor(t, 2*time.Minute), servers.PostgresSpec{Dir: w.in.DataDir})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = again.Kill() })
	back := w.in
	back.Address = again.Address
	bc := open(t, back)
	waitFor(t, "the live subscriber to get its rows", func() bool { return value[int](t, bc, "SELECT count(*)::int FROM event") == 20 })
}

func waitFor(t testing.TB, what string, ok func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited two minutes for %s", what)
		}
	}
}

// What leads out of a restored cluster is told, in whichever database it is.
func TestRestoreTellsWhatLeadsOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	run(t, w.c, "CREATE DATABASE side")
	run(t, w.c, "CREATE DATABASE shut ALLOW_CONNECTIONS false")
	side := w.in
	side.Database = "side"
	sc := open(t, side)
	run(t, sc, "CREATE EXTENSION postgres_fdw")
	run(t, sc, "CREATE SERVER ledger FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'db.example')")
	run(t, sc, "CREATE SCHEMA cron")
	run(t, sc, "CREATE TABLE cron.job (jobid bigint, command text)")
	run(t, sc, "INSERT INTO cron.job VALUES (1, 'SELECT secret()')")
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-0a0a")
	w.a.reach(t, w.id, at.Offset)

	_, out := w.restore(t, w.request(base, at))
	for check, want := range map[string]string{"foreign servers": "side.ledger (postgres_fdw)", "scheduled jobs": "side: 1 in cron.job"} {
		if f := finding(t, out.Findings, check); f.Severity != targets.Warned || f.Got != want || !strings.Contains(f.Detail, "shut (admits no connection)") {
			t.Fatalf("%+v", f)
		}
	}

	if f := finding(t, out.Findings, "logical subscriptions"); f.Got != "none" {
		t.Fatalf("%+v", f)
	}
}

// A query over a foreign table reads the source's server, not what was restored.
func TestVerifyRefusesForeignTables(t *testing.T) {
	t.Parallel()
	p := newPublisher(t)
	run(t, open(t, p.in), "INSERT INTO event VALUES (1)")
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"max_logical_replication_workers": "0"}})
	in.Role = targets.Sandbox
	c := open(t, in)
	host, port, _ := strings.Cut(p.in.Address, ":")

	run(t, c, "CREATE EXTENSION postgres_fdw")
	run(t, c, fmt.Sprintf("CREATE SERVER live FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host '%s', port '%s', dbname 'shop')", host, port))
	run(t, c, fmt.Sprintf("CREATE USER MAPPING FOR drctl SERVER live OPTIONS (user 'drctl', password '%s')", sandboxtest.Password))
	run(t, c, "CREATE FOREIGN TABLE event (n int) SERVER live")
	run(t, c, "CREATE VIEW events AS SELECT count(*) AS n FROM event")

	if n := value[int](t, c, "SELECT n::int FROM events"); n != 1 {
		t.Fatal("the foreign table does not work")
	}

	fs := verify(t, d, in, targets.Expectation{Quick: true, Assertions: []targets.Assertion{{Name: "rows", Query: "SELECT n FROM events", Want: "1"}}})
	if f := finding(t, fs, "assertion rows"); f.Severity != targets.Failed || !strings.Contains(f.Detail, "another server") {
		t.Fatalf("%+v", f)
	}
}
