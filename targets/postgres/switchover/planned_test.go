package switchover_test

import (
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// There and back: nothing is lost, nobody is rewound, and the slots follow.
func TestASwitchoverThereAndBackLosesNothingAndRewindsNothing(t *testing.T) {
	t.Parallel()
	there(t, newPair(t, sandboxtest.Tools(t)))
}

// there switches a pair over and back.
func there(t *testing.T, p *pair) {
	t.Helper()

	from, to := p.a, p.b
	for round := range 2 {
		p.exec(from, "INSERT INTO t (note) SELECT 'before' FROM generate_series(1, 1000)")

		s, out := p.switchover(from, to, uint64(round+2))
		if out.Fork != s.At || out.Begins.Offset != s.At.Offset || out.Again {
			t.Fatalf("the old side ended at %v, the new one left it at %v and goes on at %v", s.At, out.Fork, out.Begins)
		}

		if n, want := p.ask(to, "SELECT count(*) FROM t"), []string{"1000", "2000"}[round]; n != want {
			t.Fatalf("%s rows of %s", n, want)
		}

		if n := p.ask(to, "SELECT count(*) FROM pg_replication_slots WHERE slot_name IN ('drctl', 'pair') AND restart_lsn <= '"+targets.FormatLSN(s.At.Offset)+"'"); n != "2" {
			t.Fatalf("the new side has %s of the 2 slots", n)
		}

		if r := p.rejoin(from, to); r.Method != "as it was" || len(r.Warnings) != 0 {
			t.Fatalf("rejoined: %+v", r)
		}

		if n := p.ask(from, "SELECT count(*) FROM pg_replication_slots"); n != "0" {
			t.Fatalf("the new standby has %s slots, which keep log for nobody", n)
		}

		p.exec(to, "DELETE FROM t WHERE note = 'after'")
		p.until(from, "SELECT pg_last_wal_replay_lsn() >= '"+p.ask(to, "SELECT pg_current_wal_flush_lsn()")+"'")

		from, to = to, from
	}
}
