package switchover_test

import (
	"maps"
	"testing"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/control"
	"drctl/targets/postgres/postmaster"
)

// A primary that dies before its first checkpoint since its promotion: its control file names the timeline
// before its own. What it wrote alone is seen all the same, told, kept and undone. Started as it was it would replay that,
// and never follow the new primary.
func TestAPrimaryThatDiesSoonAfterItsPromotionIsRewound(t *testing.T) {
	t.Parallel()

	p := newPairWith(t, sandboxtest.Tools(t), slow())
	fork := youngDies(t, p)

	r, err := p.d.Rejoin(p.context(), handover.RejoinRequest{Old: p.a, New: p.b, MayRewind: true, Tail: &keeper{from: fork.Offset}})
	if err != nil || r.Method != "rewind" || len(r.Kept) == 0 {
		t.Fatalf("rejoined: %+v, %v", r, err)
	}

	p.exec(p.b, "INSERT INTO t (note) VALUES ('new')")
	p.until(p.a, "SELECT count(*) = 1 FROM t WHERE note = 'new'")

	if n := p.ask(p.a, "SELECT count(*) FROM t WHERE note = 'lost'"); n != "0" {
		t.Errorf("it has %s of the rows that were lost", n)
	}
}

// The oldest and the newest layout of the control file; of these servers there is no pg_rewind.
func TestWhatAPrimaryLosesSoonAfterItsPromotionIsToldOfEveryMajor(t *testing.T) {
	t.Parallel()

	majors := []int{13, 18}
	if sandboxtest.Size(0, 1) == 1 {
		majors = sandboxtest.Majors
	}

	for _, major := range majors {
		youngDies(t, newPairWith(t, sandboxtest.ToolsOf(t, major), slow()))
	}
}

// slow are settings with which the checkpoint after a promotion takes long.
func slow() map[string]string {
	set := maps.Clone(settings)
	set["checkpoint_timeout"], set["checkpoint_completion_target"], set["max_wal_size"] = "1h", "0.99", "2GB"

	return set
}

// youngDies has a primary die before its first checkpoint, and the other one promoted. It returns where they parted.
func youngDies(t *testing.T, p *pair) targets.Position {
	t.Helper()
	ctx := p.context()

	p.switchover(p.a, p.b, 2)
	p.rejoin(p.a, p.b)

	// Its own checkpoint is over by now, and the next one will not be: this is written slowly.
	p.exec(p.b, "CHECKPOINT")
	p.exec(p.b, "CREATE TABLE wide AS SELECT repeat('x', 500) AS x FROM generate_series(1, 40000)")
	p.until(p.a, "SELECT pg_last_wal_replay_lsn() >= '"+p.ask(p.b, "SELECT pg_current_wal_flush_lsn()")+"'")
	p.switchover(p.b, p.a, 3)

	p.rejoin(p.b, p.a)

	// The standby gets no more of what is written.
	srv, err := postmaster.Find(p.b.DataDir)
	if err == nil {
		p.until(p.b, "SELECT pg_last_wal_replay_lsn() >= '"+p.ask(p.a, "SELECT pg_current_wal_flush_lsn()")+"'")
		err = srv.Stop(ctx)
	}

	if err != nil {
		t.Fatal(err)
	}

	p.exec(p.a, "INSERT INTO t (note) SELECT 'lost' FROM generate_series(1, 100)")

	line := targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline(p.ask(p.a, "SELECT system_identifier FROM pg_control_system()"), 3)}
	if line.Offset, err = targets.ParseLSN(p.ask(p.a, "SELECT pg_current_wal_flush_lsn()")); err != nil {
		t.Fatal(err)
	}

	p.kill(p.a)

	if st, err := control.ReadState(p.a.DataDir); err != nil || st.Timeline == 3 {
		t.Fatalf("its checkpoint was quicker: %+v, %v", st, err)
	}

	if _, err := postmaster.Start(ctx, p.b.DataDir); err != nil {
		t.Fatal(err)
	}

	lost := p.a
	lost.DataDir = ""

	out, err := p.hands(lost, p.b, 4).Promote(ctx, handover.PromoteRequest{Line: line, History: p.history(p.a, line.Timeline), Silence: statement(p.a, 4)})
	if err != nil {
		t.Fatal(err)
	}

	told, err := p.d.Lost(ctx, handover.LossRequest{Old: p.a, Fork: out.Fork})
	if err != nil || !told.Read || told.Count == 0 {
		t.Errorf("what it wrote alone is not told: %+v, %v", told, err)
	}

	return out.Fork
}
