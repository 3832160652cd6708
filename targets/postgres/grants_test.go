package postgres_test

import (
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
	lacks := func() (fixes []string, what string) {
		t.Helper()
		ls, err := d.Preflight(ctxFor(t, 10*time.Second), in, targets.Needs{Group: "shop"})
		if err != nil {
			t.Fatal(err)
		}
		for _, l := range ls {
			fixes, what = append(fixes, l.Fix), what+l.What+"; "
		}
		return fixes, what
	}
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
