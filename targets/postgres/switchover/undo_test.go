package switchover_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/handover"
	"drctl/targets/postgres/postmaster"
)

// Trap 20: a standby that has not replayed the very shutdown checkpoint is never
// promoted, and the old side goes on as it was.
func TestTrap20AStandbyWithoutTheShutdownCheckpointIsNotPromoted(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	ctx, h := p.context(), p.hands(p.a, p.b, 2)

	if _, err := h.Prepare(ctx); err != nil {
		t.Fatal(err)
	}

	p.exec(p.b, "SELECT pg_wal_replay_pause()")
	p.until(p.b, "SELECT pg_is_wal_replay_paused()")
	p.exec(p.a, "INSERT INTO t (note) VALUES ('last')")

	stop := func() (handover.Stopped, error) {
		soon, cancel := context.WithTimeout(ctx, 3*time.Second)
		defer cancel()

		return h.Stop(soon)
	}

	s, err := stop()
	for try := 0; s.At.Offset == 0 && fail.Is(err, fail.Stalled) && try < 20; try++ {
		s, err = stop() // its server takes longer to end
	}

	if !fail.Is(err, fail.Unverified) && !fail.Is(err, fail.Stalled) {
		t.Fatalf("stopped: %+v, %v", s, err)
	}

	if s.Silence.Instance = p.a.String(); s.At.Offset == 0 {
		t.Fatal("the end of the old side's log is not told")
	}

	if _, err := h.Promote(ctx, p.exact(p.a, s)); !fail.Is(err, fail.Conflict) {
		t.Fatalf("a standby that lacks the last record was promoted: %v", err)
	}

	if err := h.Undo(ctx, true); err != nil {
		t.Fatal(err)
	}

	p.exec(p.b, "SELECT pg_wal_replay_resume()")
	p.exec(p.a, "INSERT INTO t (note) VALUES ('after')")
	p.until(p.b, "SELECT count(*) = 2 FROM t")

	if n := p.ask(p.b, "SELECT count(*) FROM pg_replication_slots"); n != "0" {
		t.Errorf("the standby has %s slots for nobody", n)
	}

	if err := h.Undo(ctx, true); err != nil {
		t.Errorf("undone twice: %v", err)
	}
}

// Trap 5: an old side that somebody starts in the middle of a switchover comes up as
// a standby, and while it runs as a primary nothing is promoted.
func TestTrap5AnOldPrimaryThatComesBackTakesNoWrites(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	ctx, h := p.context(), p.hands(p.a, p.b, 2)

	if _, err := h.Prepare(ctx); err != nil {
		t.Fatal(err)
	}

	if _, err := h.Promote(ctx, p.exact(p.a, stoppedNot(p))); !fail.Is(err, fail.Denied) || !strings.Contains(err.Error(), "runs") {
		t.Fatalf("promoted while the old side runs: %v", err)
	}

	s, err := h.Stop(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := postmaster.Start(ctx, p.a.DataDir); err != nil {
		t.Fatal(err)
	}

	if p.ask(p.a, "SELECT pg_is_in_recovery()") != "true" {
		t.Fatal("the old side came back as a primary")
	}

	if again, err := h.Stop(ctx); err == nil {
		t.Errorf("a standby was stopped in the old side's place: %+v", again)
	}

	out, err := h.Promote(ctx, p.exact(p.a, s))
	if err != nil {
		t.Fatal(err)
	}

	if err := h.Undo(ctx, true); !fail.Is(err, fail.Conflict) {
		t.Errorf("undone after the promotion: %v", err)
	}

	again, err := h.Promote(ctx, p.exact(p.a, s))
	if err != nil || !again.Again || again.Fork != out.Fork {
		t.Errorf("promoted again: %+v, %v", again, err)
	}

	if r := p.rejoin(p.a, p.b); r.Method != "as it was" {
		t.Errorf("rejoined: %+v", r)
	}
}

func TestPrepareRefusesWhatWouldNotGoWell(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	ctx, h := p.context(), p.hands(p.a, p.b, 2)

	refused := func(code fail.Code, words string) {
		t.Helper()

		if _, err := h.Prepare(ctx); !fail.Is(err, code) || !strings.Contains(err.Error(), words) {
			t.Errorf("prepared, with %v; wanted %s, %q", err, code, words)
		}
	}

	if _, err := p.hands(p.b, p.a, 2).Prepare(ctx); !fail.Is(err, fail.Conflict) {
		t.Errorf("the wrong way round: %v", err)
	}

	p.exec(p.b, "SELECT pg_wal_replay_pause()")
	refused(fail.Conflict, "does not replay")
	p.exec(p.b, "SELECT pg_wal_replay_resume()")

	// A standby that follows nobody looks well for a while.
	conninfo := p.ask(p.b, "SELECT current_setting('primary_conninfo')")
	p.exec(p.b, "ALTER SYSTEM SET primary_conninfo = 'host=127.0.0.1 port=1'")
	p.exec(p.b, "SELECT pg_reload_conf()")
	p.until(p.b, "SELECT count(*) = 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'")
	refused(fail.Conflict, "does not stream")
	p.exec(p.b, "ALTER SYSTEM SET primary_conninfo = '"+strings.ReplaceAll(conninfo, "'", "''")+"'")
	p.exec(p.b, "SELECT pg_reload_conf()")
	p.until(p.b, "SELECT count(*) > 0 FROM pg_stat_wal_receiver WHERE status = 'streaming'")

	other := p.hands(p.a, p.b, 2)
	lone := p.a
	lone.DataDir = p.b.DataDir

	if _, err := p.hands(lone, p.b, 2).Prepare(ctx); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "here is a standby") {
		t.Errorf("the directory of another server: %v", err)
	}

	if _, err := other.Prepare(ctx); err != nil {
		t.Errorf("nothing is in the way, and: %v", err)
	}

	tx, err := p.connect(p.a).Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := tx.Exec(ctx, "INSERT INTO t (note) VALUES ('open')"); err != nil {
		t.Fatal(err)
	}

	p.until(p.a, "SELECT max(clock_timestamp() - xact_start) > '0.2 s' FROM pg_stat_activity WHERE state = 'idle in transaction'")
	h = p.patient(p.a, p.b, 100*time.Millisecond)

	refused(fail.Stalled, "in a transaction")
	_ = tx.Rollback(ctx)
}
