package postgres_test

import (
	"strings"
	"testing"
	"time"

	"drctl/targets"
)

// A barrier says which tables it locked, how many it did not, and which other databases there are.
func TestWhatWasLockedIsSaid(t *testing.T) {
	t.Parallel()
	d, in, c := quiesced(t)
	run(t, c, "CREATE DATABASE billing")

	locked := func(tables ...string) (targets.LockedTables, string) {
		t.Helper()
		in.Tables = tables

		m, err := d.Join(ctxFor(t, 2*time.Minute), in, request(targets.NewID(time.Now())))
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()

		return m.(targets.Locker).Locked(), strings.Join(m.(targets.Warner).Warnings(), "; ")
	}

	all, warned := locked()
	if all.Tables != 3 || all.Others != 0 || all.Database != in.Database || all.RoundTrip <= 0 || !strings.Contains(strings.Join(all.Databases, ","), "billing") {
		t.Errorf("all tables: %+v", all)
	}

	if strings.Contains(warned, "does not list") {
		t.Errorf("all tables are locked, and it warns: %s", warned)
	}

	some, warned := locked("public.account", "public.parted")
	if some.Tables != 2 || some.Others != 1 || some.SHA256 == all.SHA256 || !strings.Contains(warned, "writers of 1 tables were not stopped") {
		t.Errorf("two of three tables: %+v, %q", some, warned)
	}

	again, _ := locked("public.parted", "public.account")
	if again.SHA256 != some.SHA256 {
		t.Errorf("the same tables in another order are others: %s, %s", again.SHA256, some.SHA256)
	}
}
