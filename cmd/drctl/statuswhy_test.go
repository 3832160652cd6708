package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/readiness"
	"drctl/targets"
	"drctl/workflows"
)

// weak makes a user that may log in and nothing else, and a table; it returns
// the target's configuration and a superuser's session.
func weak(t *testing.T, in targets.Instance) (stores string, admin *pgx.Conn) {
	t.Helper()

	admin, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = admin.Close(context.Background()) })
	sql(t, admin, "CREATE TABLE account (id int PRIMARY KEY, balance int NOT NULL)", "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")
	t.Setenv("WEAK_PASSWORD", sandboxtest.Password)

	return fmt.Sprintf("  orders:\n    kind: postgres\n    database: %s\n    user: weak\n    password: {env: WEAK_PASSWORD}\n    shards: {\"0\": {east: {address: %q, role: primary}}}\n",
		in.Database, in.Address), admin
}

func sql(t *testing.T, c *pgx.Conn, statements ...string) {
	t.Helper()

	for _, s := range statements {
		if _, err := c.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// outside is the configuration of an engine of the platform's own.
func outside(t *testing.T) string {
	t.Helper()
	e := enginetest.Start(t, enginetest.Options(t))
	ours := enginetest.NewAuthority(t)
	t.Setenv("ENGINE_KEY", "sesame-open-3f9a")

	return fmt.Sprintf("{mode: external, address: %q, namespace: %s, api_key: {env: ENGINE_KEY}, tls: {ca_file: %q, server_name: %s}}",
		ours.KeyFront(t, e, "sesame-open-3f9a"), e.Namespace, ours.CAFile, enginetest.ServerName)
}

// asked is the group's status as a command would see it.
func asked(t *testing.T, s *session) (lines string, details []readiness.Problem) {
	t.Helper()

	g, err := s.p.Group("shop")
	if err != nil {
		t.Fatal(err)
	}
	st := readiness.Gather(t.Context(), s.sources(), g, readiness.Scope{}).Status()

	return strings.Join(st.Problems, "\n"), st.Details
}

// until asks again and again until status says the words (or, with !yes, none of them).
func until(t *testing.T, s *session, yes bool, words ...string) string {
	t.Helper()

	var lines string
	for end := time.Now().Add(5 * time.Minute); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		good := true

		lines, _ = asked(t, s)
		for _, w := range words {
			good = good && strings.Contains(lines, w) == yes
		}

		if good {
			return lines
		}
	}

	t.Fatalf("status never came to say (%v) %q; it says:\n%s", yes, words, lines)

	return ""
}

// What stands behind a missing cut is said: from an engine that knows nothing
// of the platform to a prepared transaction that its client forgot.
func TestStatusSaysWhy(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	stores, admin := weak(t, in)
	file, s := configuredLab(t, outside(t)+"\npolicies: {standard: {cut: {mode: locks, attempts: 2, budget: 1s}}}", stores)
	ctx := t.Context()

	var err error
	if s.engine, err = dial(ctx, s.cfg, s.log); err != nil {
		t.Fatal(err)
	}
	defer s.close()

	// Nothing is applied and nobody serves.
	lines, _ := asked(t, s)
	for _, w := range []string{"orders/0: no archiver runs; start them with: drctl apply", "there is no schedule small:cut/shop; make it with: drctl apply",
		"nobody serves drctl.small.east; start: drctl worker --region east", "nobody serves drctl.small.west; start: drctl worker --region west"} {
		if !strings.Contains(lines, w) {
			t.Errorf("%q is not said:\n%s", w, lines)
		}
	}
	// Every right that is missing, before anything failed of it.
	for _, w := range []string{`ALTER ROLE "weak" REPLICATION`, `GRANT pg_monitor TO "weak"`, "pg_create_restore_point(text)", "GRANT UPDATE ON public.account"} {
		if !strings.Contains(lines, w) {
			t.Errorf("the right %q is not asked for:\n%s", w, lines)
		}
	}

	// The archiver waits in the queue: it is there, and the region is to blame.
	if _, err := s.archivers(ctx); err != nil {
		t.Fatal(err)
	}

	lines = until(t, s, true, "1 run waiting there, the oldest, small:archive/orders/0, since")
	if strings.Contains(lines, "no archiver runs") {
		t.Errorf("an archiver that nobody serves:\n%s", lines)
	}

	// A worker comes: the archiver's own error is said.
	wctx, stop := context.WithCancel(ctx)

	done := make(chan error, 1)
	go func() {
		_, err := command(wctx, file, "worker", "--region", "east")
		done <- err
	}()

	defer func() {
		stop()
		<-done
	}()

	lines = until(t, s, true, "archiver of orders/0 fails since ", "(attempt ", "replication")
	if !regexp.MustCompile(`archiver of orders/0 fails since .*\d\d:\d\d`).MatchString(lines) {
		t.Errorf("since when it fails is not said:\n%s", lines)
	}

	if strings.Contains(lines, "no archiver runs") || strings.Contains(lines, "nobody serves drctl.small.east") || !strings.Contains(lines, "nobody serves drctl.small.west") {
		t.Errorf("with a worker in east:\n%s", lines)
	}

	// A cut that fails is remembered with its reason.
	g, err := s.p.Group("shop")
	if err != nil {
		t.Fatal(err)
	}

	cut := func() error {
		t.Helper()

		run, err := start(ctx, s.engine, s.ids().Cut("shop"), workflows.TakeCutName, g.Queue("east"), false, workflows.TakeCutIn{Group: g})
		if err != nil {
			t.Fatal(err)
		}

		return engine.DecodeError(run.Get(ctx, nil))
	}
	if err := cut(); !fail.Is(err, fail.Denied) {
		t.Fatalf("a cut without rights: %v", err)
	}

	until(t, s, true, "cuts of shop fail since", "lacks privileges", "GRANT EXECUTE ON FUNCTION pg_create_restore_point")

	// With the rights status falls silent. (The archiver would come back by
	// itself; a new one does not let the test wait for that.)
	sql(t, admin, "ALTER ROLE weak REPLICATION", "GRANT pg_monitor TO weak", "GRANT SELECT, UPDATE ON account TO weak",
		"GRANT EXECUTE ON FUNCTION pg_create_restore_point(text), pg_backup_start(text, boolean), pg_backup_stop(boolean) TO weak")

	if err := engine.End(ctx, s.engine, s.ids().Archive(g.Shards[0].Shard), "the test waits for it"); err != nil {
		t.Fatal(err)
	}

	if _, err := s.archivers(ctx); err != nil {
		t.Fatal(err)
	}

	until(t, s, false, "archiver of orders/0 fails", "the user lacks", "no archiver runs")

	// A transaction that its client forgot stops every cut; the line names it.
	sql(t, admin, "BEGIN", "UPDATE account SET balance = 0", "INSERT INTO account VALUES (1, 1)", "PREPARE TRANSACTION 'forgotten-17'")
	time.Sleep(1200 * time.Millisecond) // older than the budget

	if err := cut(); err == nil {
		t.Fatal("a cut came through a prepared transaction")
	}

	lines = until(t, s, true, "cuts of shop fail since", "forgotten-17")
	if !strings.Contains(lines, "commit or roll back the prepared transaction") {
		t.Errorf("what to do is not said:\n%s", lines)
	}

	sql(t, admin, "ROLLBACK PREPARED 'forgotten-17'")
}

// Two servers of a shard that both take writes are what must be said first.
func TestStatusTellsOfTwoPrimaries(t *testing.T) {
	a, b := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{}), sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	t.Setenv("DB_PASSWORD", sandboxtest.Password)
	_, s := configuredLab(t, "{address: 127.0.0.1:1}", fmt.Sprintf("  orders:\n    kind: postgres\n    database: %s\n    user: %s\n    password: {env: DB_PASSWORD}\n"+
		"    shards: {\"0\": {east: {address: %q, role: primary}, west: {address: %q, role: standby}}}\n", a.Database, a.User, a.Address, b.Address))

	lines, details := asked(t, s)
	if !strings.Contains(lines, "orders/0: more than one server takes writes: orders/0@east") || !strings.Contains(lines, "stop the wrong one") {
		t.Errorf("two primaries:\n%s", lines)
	}

	for _, p := range details {
		if p.Code == "two-primaries" && (p.Severity != readiness.Critical || p.Subject != "orders/0") {
			t.Errorf("%+v", p)
		}
	}
}

// A key or a vault that was never made: each vault has one line, which says
// what makes it.
func TestStatusOfAPlatformThatWasNeverMade(t *testing.T) {
	for _, gone := range []string{"key", "vaults"} {
		file, s := vaultsOnly(t, "{address: 127.0.0.1:1}")
		dir := filepath.Dir(file)

		paths := []string{filepath.Join(dir, "key")}
		if gone == "vaults" {
			paths = []string{filepath.Join(dir, "east"), filepath.Join(dir, "west")}
		}

		for _, p := range paths {
			if err := os.RemoveAll(p); err != nil {
				t.Fatal(err)
			}
		}

		lines, _ := asked(t, s)
		for _, region := range []string{"east", "west"} {
			n := 0
			for l := range strings.SplitSeq(lines, "\n") {
				if strings.Contains(l, "the vault of "+region) || strings.Contains(l, "the vaults of east and west") {
					n++

					if !strings.Contains(l, "drctl vault init") {
						t.Errorf("without %s: %s", gone, l)
					}
				}
			}

			if n != 1 {
				t.Errorf("without %s, the vault of %s has %d lines:\n%s", gone, region, n, lines)
			}
		}
	}
}
