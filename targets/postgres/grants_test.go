package postgres_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// A role that has nothing is told everything that it lacks, at once, as
// statements; after they were run it lacks nothing.
func TestPreflightNamesEveryLack(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	run(t, c, "CREATE SCHEMA inner_circle CREATE TABLE member (id int)")
	run(t, c, "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")
	run(t, c, "REVOKE EXECUTE ON FUNCTION pg_replication_slot_advance(name, pg_lsn) FROM PUBLIC") // as on hardened clusters
	in.User, in.DataDir = "weak", "/not/read/by/the/preflight"
	locks := false
	lacks := func() (fixes []string, what string) {
		t.Helper()

		ls, err := d.Preflight(ctxFor(t, 2*time.Minute), in, targets.Needs{Group: "shop", Locks: locks})
		if err != nil {
			t.Fatal(err)
		}

		for _, l := range ls {
			fixes, what = append(fixes, l.Fix), what+l.What+"; "
		}

		return fixes, what
	}

	// Whoever locks no tables needs no right to them, nor to what marks a barrier.
	if _, what := lacks(); strings.Contains(what, "account") || strings.Contains(what, "SCHEMA") || strings.Contains(what, "restore_point") || !strings.Contains(what, "pg_monitor") {
		t.Errorf("without locks it lacks %s", what)
	}

	locks = true
	fixes, _ := lacks()

	all := strings.Join(fixes, "\n")
	for _, want := range []string{"ALTER ROLE \"weak\" REPLICATION", "GRANT pg_monitor TO \"weak\"", "pg_create_restore_point(text)", "pg_replication_slot_advance(name, pg_lsn)", "pg_backup_start(text, boolean)",
		"pg_backup_stop(boolean)", "GRANT USAGE ON SCHEMA inner_circle", `public."Odd ""Name"`, "public.account", "inner_circle.member"} {
		if !strings.Contains(all, want) {
			t.Errorf("%s is not asked for:\n%s", want, all)
		}
	}

	for i, f := range fixes {
		run(t, c, f)

		if rest, _ := lacks(); len(rest) != len(fixes)-i-1 {
			t.Fatalf("after %q there is still:\n%s", f, strings.Join(rest, "\n"))
		}
	}

	if rest, what := lacks(); len(rest) > 0 {
		t.Errorf("it still lacks %s", what)
	}
}

// With the whole asked, what stands in the way of replication beside rights is
// told in the same run: pg_hba.conf, and a server without room.
func TestPreflightOfTheWhole(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	run(t, c, "CREATE ROLE weak LOGIN PASSWORD '"+sandboxtest.Password+"'")
	weak := in
	weak.User = "weak"

	fixes := func(in targets.Instance) string {
		t.Helper()

		ls, err := d.Preflight(ctxFor(t, 2*time.Minute), in, targets.Needs{Group: "shop", Locks: true, Whole: true})
		if err != nil {
			t.Fatal(err)
		}

		var out []string
		for _, l := range ls {
			out = append(out, l.Fix)
		}

		return strings.Join(out, "\n")
	}
	if got := fixes(weak); strings.Contains(got, "pg_hba") || strings.Contains(got, "max_") || !strings.Contains(got, "REPLICATION") {
		t.Errorf("with a way in and room it asks for:\n%s", got)
	}

	if got := fixes(in); got != "" {
		t.Errorf("a superuser lacks:\n%s", got)
	}

	// Without the line the role's missing right is told all the same.
	hba := filepath.Join(in.DataDir, "pg_hba.conf")

	text, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(hba, []byte(strings.ReplaceAll(string(text), "host replication", "#")), 0o600); err != nil {
		t.Fatal(err)
	}

	run(t, c, "SELECT pg_reload_conf()")

	var got string
	for !strings.Contains(got, "pg_hba.conf") {
		got = fixes(weak) // the server reads the file in its own time
	}

	if !strings.Contains(got, `host replication "weak" 127.0.0.1/32 scram-sha-256`) || !strings.Contains(got, `ALTER ROLE "weak" REPLICATION`) {
		t.Errorf("without a line for replication:\n%s", got)
	}

	none := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Settings: map[string]string{"wal_level": "minimal", "max_wal_senders": "0", "max_replication_slots": "0"}})

	got = fixes(none)
	for _, want := range []string{"wal_level = 'replica'", "max_wal_senders", "max_replication_slots"} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not asked for:\n%s", want, got)
		}
	}
}
