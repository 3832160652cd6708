package stretch_test

import (
	"context"
	"maps"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/proof"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// backup copies the running server.
func (s *server) backup(t testing.TB) {
	t.Helper()
	s.base = filepath.Join(sandboxtest.Dir(t), "pg")

	if err := sandboxtest.Tools(t).BaseBackup(t.Context(), s.in, servers.PostgresSpec{Dir: s.base, NoSync: true}, ""); err != nil {
		t.Fatal(err)
	}

	if err := os.Rename(filepath.Join(s.base, "standby.signal"), filepath.Join(s.base, "recovery.signal")); err != nil {
		t.Fatal(err)
	}
}

// recover lets PostgreSQL recover the copy up to a position, before the record there.
func (s *server) recover(t testing.TB, position uint64) *pgx.Conn {
	t.Helper()
	in := sandboxtest.Start(t, sandboxtest.Tools(t), s.base, sandboxtest.PostgresOptions{Settings: map[string]string{
		"primary_conninfo": "", "restore_command": "cp " + filepath.Join(s.dir, "pg_wal") + "/%f %p",
		"recovery_target_lsn": targets.FormatLSN(position), "recovery_target_inclusive": "off", "recovery_target_action": "promote"}})

	conn, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, "postgres"))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = conn.Close(context.Background()) })

	for recovering := true; recovering; time.Sleep(10 * time.Millisecond) {
		if err := conn.QueryRow(t.Context(), "SELECT pg_is_in_recovery()").Scan(&recovering); err != nil {
			t.Fatal(err)
		}
	}

	return conn
}

// recovered recovers a cut on all servers and does with what is prepared as it
// says. Then the servers have what the judge says is in, row for row.
func recovered(t *testing.T, truth *judge, servers []*server, cut *proof.Cut) {
	t.Helper()
	c := truth.claim(cut)
	in := truth.in(&c)
	rows := 0

	for i, s := range servers {
		conn := s.recover(t, c.positions[i])

		for _, r := range cut.InDoubt {
			if r.Shard != s.in.Shard {
				continue
			}

			verb := map[proof.Action]string{proof.CommitIt: "COMMIT", proof.RollBackIt: "ROLLBACK"}[r.Action]
			do(t, conn, verb+" PREPARED '"+r.GID+"'")
		}

		var prepared int
		if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM pg_prepared_xacts").Scan(&prepared); err != nil || prepared != 0 {
			t.Errorf("%s: %d transactions are still prepared: %v", s.in.Shard, prepared, err)
		}

		want := map[int64]bool{}
		for id := range in {
			if truth.ops[id].shard == i {
				want[id] = true
			}
		}

		for _, table := range []string{"a", "b"} {
			list, err := conn.Query(t.Context(), "SELECT op FROM "+table)
			if err != nil {
				t.Fatal(err)
			}

			ids, err := pgx.CollectRows(list, pgx.RowTo[int64])
			if err != nil {
				t.Fatal(err)
			}

			got := map[int64]bool{}
			for _, id := range ids {
				got[id] = true
			}

			if rows += len(got); !maps.Equal(got, want) {
				t.Errorf("%s: table %s has %d operations, want %d", s.in.Shard, table, len(got), len(want))
			}
		}
	}

	t.Logf("recovered the cut at %d: %d rows, %d transactions that were in doubt", cut.T, rows, len(cut.InDoubt))
}

// busiest is the cut that has the most for recovery to decide.
func busiest(cuts []proof.Cut) *proof.Cut {
	best := &cuts[0]
	for i := range cuts {
		if len(cuts[i].InDoubt) > len(best.InDoubt) {
			best = &cuts[i]
		}
	}

	return best
}
