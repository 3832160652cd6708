package postgres_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// Hardened clusters and stored settings: a restore needs none of the logins,
// databases and defaults that a platform may do without or may have changed.
func TestRestoreOfAHardenedCluster(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	run(t, w.c, "CREATE ROLE auditor")
	run(t, w.c, "CREATE TABLE audit (what text)")
	run(t, w.c, "CREATE FUNCTION audit() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.audit VALUES (tg_tag); END $$")

	for name, fires := range map[string]string{"audit": "ENABLE", `"On ""a"" replica"`: "ENABLE REPLICA", "always": "ENABLE ALWAYS"} {
		run(t, w.c, "CREATE EVENT TRIGGER "+name+" ON ddl_command_start EXECUTE FUNCTION audit()")
		run(t, w.c, "ALTER EVENT TRIGGER "+name+" "+fires)
	}

	base := w.base(t, w.in, "base-1") // while a session of the usual kind can be opened
	for _, set := range []string{"default_transaction_read_only = on", "statement_timeout = 1", "lock_timeout = 1", "role = auditor",
		"session_preload_libraries = 'no_such_library'", "ignore_checksum_failure = on"} {
		run(t, w.c, "ALTER DATABASE shop SET "+set)
	}
	other := w.in
	other.Database = "template1"
	run(t, open(t, other), "DROP DATABASE postgres")
	run(t, w.c, "ALTER DATABASE template1 SET default_transaction_read_only = on")
	run(t, w.c, "ALTER ROLE drctl NOLOGIN")
	at := restorePoint(t, w, "20260101T000000.000Z-4a4a")

	sb, out := w.restore(t, w.request(base, at))
	if out.Reached != at {
		t.Fatalf("reached %+v", out.Reached)
	}

	all := targets.Expectation{Assertions: []targets.Assertion{{Name: "rows", Query: "SELECT count(*) FROM account", Want: "100"},
		{Name: "event triggers that fired", Query: "SELECT count(*) FROM public.audit", Want: "0"}}}
	for _, f := range verify(t, w.d, sb, all) {
		if f.Severity != targets.Passed {
			t.Errorf("%+v", f)
		}
	}

	w.dir = sandboxtest.Dir(t)
	into := w.sandbox()
	into.Role = targets.Primary

	out, err := w.d.Restore(ctxFor(t, 2*time.Minute), into, w.request(base, at), w.s)
	if err != nil || out.Reached != at {
		t.Fatalf("into an instance: %+v: %v", out.Reached, err)
	}

	if f := finding(t, out.Findings, "logical subscriptions"); f.Severity != targets.Warned || !strings.Contains(f.Detail, "not looked into") {
		t.Fatalf("%+v", f)
	}
	single := exec.CommandContext(ctxFor(t, 2*time.Minute), filepath.Join(sandboxtest.Tools(t).PostgresBin, "postgres"), "--single", "-D", into.DataDir, "shop")

	cred, err := sandboxtest.Tools(t).RunAs.Credential()
	if err != nil {
		t.Fatal(err)
	}
	single.SysProcAttr = &syscall.SysProcAttr{Credential: cred}
	single.Stdin = strings.NewReader("SELECT rolname FROM pg_roles WHERE rolname !~ '^pg_'\nSELECT evtname FROM pg_event_trigger WHERE evtenabled = 'A'\n")

	text, err := single.CombinedOutput()
	if err != nil || !strings.Contains(string(text), `"auditor"`) || !strings.Contains(string(text), `"always"`) || strings.Contains(string(text), "drctl_sandbox") {
		t.Fatalf("%v: the instance's roles: %s", err, text)
	}
}

// restorePoint marks a point as a cut does, on a session that is open already.
func restorePoint(t *testing.T, w *world, id string) targets.Position {
	t.Helper()
	at := targets.Position{Kind: targets.Postgres, Timeline: w.id, RestorePoint: "drctl:" + id}
	at.Offset = lsn(t, w.c, "SELECT pg_create_restore_point('"+at.RestorePoint+"')::text")
	run(t, w.c, "SELECT txid_current()")
	w.a.reach(t, w.id, at.Offset)

	return at
}

// Settings that were raised after the base are met by the replay.
func TestRestoreAfterPreparedTransactionsWereAllowed(t *testing.T) {
	t.Parallel()
	var proc servers.Server
	w := newWorld(t, sandboxtest.PostgresOptions{Proc: &proc, Settings: map[string]string{"max_prepared_transactions": "0"}})
	base := w.base(t, w.in, "base-1")
	_ = w.stop()
	again := restart(t, w.in, &proc, map[string]string{"max_prepared_transactions": "20", "max_wal_senders": "20"})
	w.in = again
	w.c = open(t, w.in)
	w.stop = follow(t, w.d, w.in, w.a)
	run(t, w.c, "BEGIN; INSERT INTO journal DEFAULT VALUES; PREPARE TRANSACTION 'ended'")
	run(t, w.c, "COMMIT PREPARED 'ended'")

	// One in another database, which a cut does not quiesce.
	run(t, w.c, "CREATE DATABASE side")
	side := w.in
	side.Database = "side"
	sc := open(t, side)
	run(t, sc, "CREATE TABLE t (n int)")
	run(t, sc, "BEGIN; INSERT INTO t VALUES (1); PREPARE TRANSACTION 'elsewhere'")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-4b4b")
	w.a.reach(t, w.id, at.Offset)

	sb, _ := w.restore(t, w.request(base, at))
	if n := value[int](t, sandboxOpen(t, sb), "SELECT count(*)::int FROM journal"); n != 1 {
		t.Fatalf("%d entries", n)
	}

	f := finding(t, verify(t, w.d, sb, targets.Expectation{Quick: true}), "prepared-transactions")
	if f.Severity != targets.Warned || !strings.Contains(f.Detail, `"elsewhere" in database "side"`) {
		t.Fatalf("%+v", f)
	}

	// One in the quiesced table is a failure at a cut, and in flight at an instant.
	run(t, w.c, "BEGIN; INSERT INTO journal DEFAULT VALUES; PREPARE TRANSACTION 'here'")
	w.dir = sandboxtest.Dir(t)
	at = restorePoint(t, w, "20260101T000000.000Z-4c4c")

	sb, _ = w.restore(t, w.request(base, at))
	if f := finding(t, verify(t, w.d, sb, targets.Expectation{Quick: true}), "prepared-transactions"); f.Severity != targets.Failed || f.Detail != `"here" in database "shop" (it wrote to the quiesced tables)` {
		t.Fatalf("%+v", f)
	}

	if f := finding(t, verify(t, w.d, sb, targets.Expectation{Quick: true, Instant: true}), "prepared-transactions"); f.Severity != targets.Warned {
		t.Fatalf("%+v", f)
	}

	sb.Tables = []string{"public.account", "public.later"}
	if f := finding(t, verify(t, w.d, sb, targets.Expectation{Quick: true}), "prepared-transactions"); f.Severity != targets.Warned {
		t.Fatalf("of a table that is not quiesced: %+v", f)
	}
}

// restart starts a stopped test server again with other settings.
func restart(t *testing.T, in targets.Instance, proc *servers.Server, set map[string]string) targets.Instance {
	t.Helper()

	ctx := ctxFor(t, 2*time.Minute)
	if err := proc.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	set["wal_level"], set["fsync"] = "replica", "off"

	p, err := sandboxtest.Tools(t).StartPostgres(ctx, servers.PostgresSpec{Dir: in.DataDir, Settings: set})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })
	in.Address = p.Address

	return in
}

// Any size of segment can be restored.
func TestRestoreWithLargeSegments(t *testing.T) {
	t.Parallel()
	tools := sandboxtest.Tools(t)

	dir := filepath.Join(sandboxtest.Dir(t), "pg")
	if err := tools.InitPostgres(ctxFor(t, 2*time.Minute), servers.PostgresSpec{Dir: dir, User: "drctl", Password: targets.NewSecret(sandboxtest.Password), NoSync: true}); err != nil {
		t.Fatal(err)
	}

	if _, err := tools.Run(ctxFor(t, 2*time.Minute), nil, "pg_resetwal", "--wal-segsize=64", dir); err != nil {
		t.Fatal(err)
	}
	d, _ := driver(t)

	p, err := tools.StartPostgres(context.Background(), servers.PostgresSpec{Dir: dir, Settings: map[string]string{"min_wal_size": "320MB", "fsync": "off"},
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = p.Kill() })
	w := &world{d: d, in: targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "east", Role: targets.Primary,
		Address: p.Address, User: "drctl", Password: targets.NewSecret(sandboxtest.Password), Database: "postgres", DataDir: dir}, dir: sandboxtest.Dir(t)}
	w.c = open(t, w.in)
	run(t, w.c, "CREATE TABLE account (n int)")
	w.a = newArchive()
	w.s = newStore(t, w.a)
	w.id = timelineOf(t, d, w.in)
	w.stop = follow(t, d, w.in, w.a)
	w.a.reach(t, w.id, lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text"))
	base := w.base(t, w.in, "base-1")
	run(t, w.c, "INSERT INTO account VALUES (1)")
	at := mark(t, d, w.in, "20260101T000000.000Z-6464")
	w.a.reach(t, w.id, at.Offset)

	sb, out := w.restore(t, w.request(base, at))
	if n := value[int](t, sandboxOpen(t, sb), "SELECT count(*)::int FROM account"); n != 1 || out.Reached != at {
		t.Fatalf("%d rows, reached %+v", n, out.Reached)
	}
}

// A server that refuses for a reason that stays is not tried again, and the
// error holds what it said: its log goes with the sandbox.
func TestRestoreTellsWhatStays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-9f9f")
	w.a.reach(t, w.id, at.Offset)
	req := w.request(base, at)

	req.Base.Settings = map[string]string{}
	for k, v := range base.Settings {
		req.Base.Settings[k] = v
	}
	req.Base.Settings["max_connections"] = "262144" // more than any server takes
	_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), req, w.s)
	wantCode(t, err, fail.Unsupported, "FATAL", "262144", "max_connections")

	if fail.Retryable(err) {
		t.Fatal("it would be tried again")
	}
}
