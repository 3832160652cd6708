package postgres_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pglogrepl"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/sandbox/sandboxtest"
)

// A slot is read by the session that streams from it, not by any that has
// drctl's name: that of a base over the wire, or an archiver that waits.
func TestProbeTellsOfASlotThatNobodyReads(t *testing.T) {
	t.Parallel()
	d, _ := driver(t)
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	c := open(t, in)
	from := lsn(t, c, "SELECT lsn::text FROM pg_create_physical_replication_slot('drctl', true)")

	session, err := pgconn.Connect(ctxFor(t, 2*time.Minute), sandboxtest.DSN(in, in.Database)+"&replication=true&application_name=drctl")
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close(context.Background())

	waitFor(t, "the session", func() bool {
		return value[bool](t, c, "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = 'drctl')")
	})

	unread := func() bool {
		t.Helper()

		st, err := d.Probe(ctxFor(t, 2*time.Minute), in)
		if err != nil {
			t.Fatal(err)
		}

		return strings.Contains(strings.Join(st.Warnings, "\n"), "nobody reads replication slot")
	}
	if !unread() {
		t.Error("a session of drctl's that streams nothing passes for the slot's reader")
	}

	if err := pglogrepl.StartReplication(ctxFor(t, 2*time.Minute), session, "drctl", pglogrepl.LSN(from),
		pglogrepl.StartReplicationOptions{Timeline: 1, Mode: pglogrepl.PhysicalReplication}); err != nil {
		t.Fatal(err)
	}

	waitFor(t, "the slot's reader to count", func() bool { return !unread() })
}
