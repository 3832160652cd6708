package observe_test

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres/observe"
)

func connect(t *testing.T, in targets.Instance) *pgx.Conn {
	t.Helper()

	conn, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, "postgres"))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	return conn
}

// session begins to ask over a connection.
func session(t *testing.T, conn *pgx.Conn) *observe.Session {
	t.Helper()

	s, err := observe.Open(t.Context(), conn, "the server")
	if err != nil {
		t.Fatal(err)
	}

	return s
}

func TestSample(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	conn := connect(t, in)

	// A session whose texts look otherwise, and that may nothing.
	for _, sql := range []string{"CREATE ROLE nobody", "SET ROLE nobody", "SET TimeZone = 'Asia/Kathmandu'", "SET DateStyle = 'German'", "SET default_transaction_read_only = on"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}

	other, ask := connect(t, in), session(t, conn)
	o := observation.NewObserver()

	for range 20 {
		var low, high string

		look := func(where string, into *string) {
			if err := other.QueryRow(t.Context(), "SELECT "+where+"()::text").Scan(into); err != nil {
				t.Fatal(err)
			}
		}

		look("pg_current_wal_flush_lsn", &low)
		before, wall := o.Now(), time.Now()
		s, err := ask.Observe(t.Context(), o)
		after, later := o.Now(), time.Now()

		look("pg_current_wal_insert_lsn", &high)

		if err != nil {
			t.Fatal(err)
		}

		// The server's clock is this machine's, and shows no fractions of a microsecond.
		if x := time.Unix(0, int64(s.Stamp)); s.T0 < before || s.T1 < s.T0 || after < s.T1 || x.Before(wall.Add(-time.Microsecond)) || x.After(later) {
			t.Errorf("in [%d, %d] the clock showed %v, want in [%d, %d] and [%v, %v]", s.T0, s.T1, x, before, after, wall, later)
		}

		if w := time.Unix(0, int64(s.Wall)); w.Before(wall.Add(-time.Microsecond)) || w.After(later) {
			t.Errorf("the wall showed %v, want in [%v, %v]", w, wall, later)
		}

		if s.Flushed < lsn(t, low) || s.Inserted < s.Flushed || s.Inserted > lsn(t, high) || s.Timeline != timelineOf(t, other, 1) {
			t.Errorf("on timeline %s %v was flushed and %v inserted, between %s and %s", s.Timeline, s.Flushed, s.Inserted, low, high)
		}

		if _, err := other.Exec(t.Context(), "CREATE TEMP TABLE IF NOT EXISTS x (a int); SELECT pg_logical_emit_message(true, 'x', 'y')"); err != nil {
			t.Fatal(err)
		}
	}

	if observation.NewObserver().Name() == o.Name() {
		t.Error("two observers have one name")
	}

	if again := session(t, connect(t, in)); again.Server() != ask.Server() || again.Server() == "" {
		t.Errorf("one run of a server has two names: %q and %q", ask.Server(), again.Server())
	}
}

// timelineOf names a timeline of the server's cluster.
func timelineOf(t *testing.T, conn *pgx.Conn, tli uint32) string {
	t.Helper()
	var system string

	if err := conn.QueryRow(t.Context(), "SELECT system_identifier::text FROM pg_control_system()").Scan(&system); err != nil {
		t.Fatal(err)
	}

	return targets.PostgresTimeline(system, tli)
}

func lsn(t *testing.T, s string) uint64 {
	t.Helper()

	n, err := targets.ParseLSN(s)
	if err != nil {
		t.Fatal(err)
	}

	return n
}

// TestTimeline observes a server that was promoted: the log that it writes is of another timeline.
func TestTimeline(t *testing.T) {
	primary := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	standby := connect(t, sandboxtest.Standby(t, primary, sandboxtest.PostgresOptions{}))
	o := observation.NewObserver()

	ask := session(t, standby)
	if _, err := ask.Observe(t.Context(), o); !fail.Is(err, fail.Conflict) {
		t.Errorf("a standby: %v", err)
	}

	if _, err := standby.Exec(t.Context(), "SELECT pg_promote()"); err != nil {
		t.Fatal(err)
	}

	if s, err := ask.Observe(t.Context(), o); err != nil || s.Timeline != timelineOf(t, standby, 2) {
		t.Errorf("after its promotion it writes timeline %s: %v", s.Timeline, err)
	}
}

func TestUnanswered(t *testing.T) {
	conn := connect(t, sandboxtest.Postgres(t, sandboxtest.PostgresOptions{}))
	ask := session(t, conn)
	o := observation.NewObserver()

	over, stop := context.WithDeadline(t.Context(), time.Now().Add(-time.Second))
	defer stop()

	if s, err := ask.Observe(over, o); !fail.Is(err, fail.Stalled) || s.Sample != (clock.Sample{}) {
		t.Errorf("an answer that takes too long: %+v %v", s, err)
	}

	ask.Close()

	if _, err := ask.Observe(t.Context(), o); !fail.Is(err, fail.Unavailable) {
		t.Errorf("a closed session: %v", err)
	}
}
