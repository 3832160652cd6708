package switchover_test

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/handover"
	"drctl/targets/postgres/postmaster"
	"drctl/targets/postgres/timelines"
)

// Trap 6, 15, 16: a primary that stood still through a failover wakes up and writes.
// Nothing is promoted without proof; what it wrote is found, saved before anything is
// undone, and it becomes a standby again, whatever limits the platform has set.
func TestTrap6And15And16AStalePrimaryThatWakesUpIsRewoundAfterItsTailWasSaved(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	ctx := p.context()

	p.exec(p.a, "INSERT INTO t (note) VALUES ('both')")
	p.exec(p.a, "ALTER ROLE drctl SET statement_timeout = '1ms'")
	p.until(p.b, "SELECT pg_last_wal_replay_lsn() >= '"+p.ask(p.a, "SELECT pg_current_wal_flush_lsn()")+"'")
	known := stoppedNot(p).At

	srv, err := postmaster.Find(p.a.DataDir)
	if err != nil {
		t.Fatal(err)
	}

	still(t, p.a, syscall.SIGSTOP)
	t.Cleanup(func() { still(t, p.a, syscall.SIGCONT) })

	// The standby was told how far its primary was, whatever it got of that.
	if heard, err := p.d.Asker().Heard(ctx, p.b); err != nil || heard.At.Timeline != known.Timeline || heard.At.Offset < known.Offset || heard.Seen.IsZero() {
		t.Errorf("the standby heard %+v of %v, %v", heard, known, err)
	}

	lost := p.a // the region is out of reach
	lost.DataDir = ""
	h := p.hands(lost, p.b, 2)
	req := handover.PromoteRequest{Line: known}

	for name, proofs := range map[string][]handover.Silence{
		"none":                nil,
		"of an older epoch":   statement(p.a, 1),
		"of another instance": statement(p.b, 2),
		"of an unknown kind":  {{Instance: p.a.String(), Kind: "hope", Epoch: 2}},
	} {
		req.Silence = proofs
		if _, err := h.Promote(ctx, req); !fail.Is(err, fail.Denied) {
			t.Fatalf("promoted with a proof %s: %v", name, err)
		}
	}

	req.Silence = statement(p.a, 2)

	out, err := h.Promote(ctx, req)
	if err != nil {
		t.Fatal(err)
	}

	p.exec(p.b, "INSERT INTO t (note) VALUES ('new')")
	still(t, p.a, syscall.SIGCONT)
	p.exec(p.a, "BEGIN; SELECT pg_logical_emit_message(true, 'drctl/tx', 'order 7'); INSERT INTO t (note) VALUES ('lost'); COMMIT")

	if _, err := p.d.Rejoin(ctx, handover.RejoinRequest{Old: p.a, New: p.b, MayRewind: true}); !fail.Is(err, fail.Conflict) {
		t.Fatalf("a primary that runs was made a standby: %v", err)
	}

	if _, err := p.d.Lost(ctx, handover.LossRequest{Old: p.a, Fork: out.Fork}); !fail.Is(err, fail.Conflict) {
		t.Fatalf("the loss of a server that writes was told: %v", err)
	}

	if err := srv.Kill(); err != nil {
		t.Fatal(err)
	}

	gone, err := p.d.Lost(ctx, handover.LossRequest{Old: p.a, Fork: out.Fork})
	if err != nil || !gone.Read || gone.Bytes == 0 || !slices.ContainsFunc(gone.Lost, func(x handover.LostTransaction) bool {
		return slices.Contains(x.Tags, "drctl/tx: order 7") && x.Outcome == "committed"
	}) || gone.First.IsZero() {
		t.Fatalf("lost: %+v, %v", gone, err)
	}

	// A flipped byte behind the fork is no end of the log, nor is a place that somebody saw.
	wal := filepath.Join(p.a.DataDir, "pg_wal", segmentOf(out.Fork))
	flip(t, wal, int64(out.Fork.Offset%(16<<20))+30)

	damaged, err := p.d.Lost(ctx, handover.LossRequest{Old: p.a, Fork: out.Fork})
	if err != nil || damaged.Read || damaged.Bytes == 0 || len(damaged.Notes) == 0 {
		t.Fatalf("lost by a damaged log: %+v, %v", damaged, err)
	}

	flip(t, wal, int64(out.Fork.Offset%(16<<20))+30)

	seen := gone.Part.To + 8

	cut, err := p.d.Lost(ctx, handover.LossRequest{Old: p.a, Fork: out.Fork, Flushed: targets.Position{Kind: targets.Postgres, Timeline: out.Fork.Timeline, Offset: seen}})
	if err != nil || cut.Read || cut.Bytes != seen-out.Fork.Offset {
		t.Fatalf("lost by a log that was seen longer: %+v, %v", cut, err)
	}

	refused := func(req handover.RejoinRequest, words string) {
		t.Helper()
		req.Old, req.New = p.a, p.b

		if _, err := p.d.Rejoin(ctx, req); !fail.Is(err, fail.Unverified) || !strings.Contains(err.Error(), words) {
			t.Fatalf("rejoined, with %v; wanted %q", err, words)
		}
	}
	archived := targets.Position{Kind: targets.Postgres, Timeline: out.Fork.Timeline, Offset: out.Fork.Offset}

	refused(handover.RejoinRequest{}, "does not have")
	refused(handover.RejoinRequest{MayRewind: true}, "a rewind deletes it")
	refused(handover.RejoinRequest{MayRewind: true, Tail: &keeper{from: archived.Offset, keep: func(targets.Span, io.Reader) error {
		return fail.Newf(fail.Unverified, "keep", "", "the vault is full")
	}}}, "could not be saved")
	refused(handover.RejoinRequest{MayRewind: true, Tail: &keeper{from: archived.Offset}, Lost: func(context.Context, handover.Loss) error {
		return fail.Newf(fail.Unverified, "loss", "", "the record cannot be kept")
	}}, "nothing was rewound")

	var kept []byte

	var told handover.Loss

	r, err := p.d.Rejoin(ctx, handover.RejoinRequest{Old: p.a, New: p.b, MayRewind: true,
		Lost: func(_ context.Context, what handover.Loss) error {
			told = what
			return nil
		},
		Tail: &keeper{from: archived.Offset, keep: func(part targets.Span, log io.Reader) (err error) {
			if kept, err = io.ReadAll(log); uint64(len(kept)) != part.To-part.From || part.From != archived.Offset {
				return errors.New("the part has another length")
			}

			return err
		}}})
	if err != nil || r.Method != "rewind" || len(r.Kept) != 1 || r.Kept[0].To != gone.Part.To || told.Count != gone.Count || !strings.Contains(string(kept), "order 7") {
		t.Fatalf("rejoined: %+v, %v", r, err)
	}

	// The row is named by the new primary, which has the table too.
	if len(told.Rows) != 1 || told.Rows[0] != (handover.LostRows{Table: "postgres.public.t", Inserted: 1}) {
		t.Errorf("lost rows: %+v, %v", told.Rows, told.Notes)
	}

	if got := p.ask(p.a, "SELECT string_agg(note, ',' ORDER BY note) FROM t"); got != "both,new" {
		t.Errorf("the rejoined side has %s", got)
	}

	if _, err := os.Stat(p.a.DataDir + ".rewinding"); err == nil {
		t.Error("the files that were set aside are left")
	}
}

// keeper keeps a log from a place on.
type keeper struct {
	from uint64
	keep func(part targets.Span, log io.Reader) error
}

func (k *keeper) Lacks(_ context.Context, part targets.Span) (uint64, error) {
	return min(max(k.from, part.From), part.To), nil
}

func (k *keeper) Keep(_ context.Context, part targets.Span, log io.Reader) error {
	if k.keep == nil {
		return nil
	}

	return k.keep(part, log)
}

// still stops or wakes all processes of a server.
func still(t *testing.T, in targets.Instance, sig syscall.Signal) {
	t.Helper()

	srv, err := postmaster.Find(in.DataDir)
	if err != nil {
		return
	}

	for _, s := range residents(srv) {
		if err := s.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Fatal(err)
		}
	}
}

// Trap 13, on real servers: a standby of another branch, with a higher number.
func TestTrap13AForkedStandbyIsNeitherPreparedNorPromoted(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))
	ctx := p.context()

	p.exec(p.b, "SELECT pg_promote(true)")
	p.exec(p.b, "INSERT INTO t (note) VALUES ('branch')")
	p.exec(p.a, "INSERT INTO t (note) VALUES ('trunk')")

	srv, err := postmaster.Find(p.b.DataDir)
	if err == nil {
		err = srv.Stop(ctx)
	}

	if err == nil {
		err = p.tools.RunAs.WriteFile(p.b.DataDir+"/standby.signal", "")
	}

	if err == nil {
		_, err = postmaster.Start(ctx, p.b.DataDir)
	}

	if err != nil {
		t.Fatal(err)
	}

	h := p.hands(p.a, p.b, 2)
	if _, err := h.Prepare(ctx); !fail.Is(err, fail.Conflict) || !strings.Contains(err.Error(), "parted") {
		t.Errorf("prepared: %v", err)
	}

	line := stoppedNot(p).At
	lost := p.a
	lost.DataDir = ""

	if _, err := p.hands(lost, p.b, 2).Promote(ctx, handover.PromoteRequest{Line: line, Silence: statement(p.a, 2)}); !fail.Is(err, fail.Conflict) {
		t.Errorf("promoted: %v", err)
	}
}

// Trap 19: the new primary dies right after its promotion, before its first
// checkpoint, and comes up again with everything.
func TestTrap19TheNewPrimaryDiesRightAfterItsPromotion(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))

	p.exec(p.a, "INSERT INTO t (note) SELECT repeat('x', 500) FROM generate_series(1, 5000)")
	s, _ := p.switchover(p.a, p.b, 2)
	p.kill(p.b)

	if _, err := postmaster.Start(p.context(), p.b.DataDir); err != nil {
		t.Fatal(err)
	}

	if n := p.ask(p.b, "SELECT count(*) FROM t"); n != "5000" || p.ask(p.b, "SELECT pg_is_in_recovery()") != "false" {
		t.Fatalf("%s rows", n)
	}

	h := p.hands(p.a, p.b, 2)
	if out, err := h.Promote(p.context(), p.exact(p.a, s)); err != nil || !out.Again || out.Fork != s.At {
		t.Errorf("promoted again: %+v, %v", out, err)
	}

	if r := p.rejoin(p.a, p.b); r.Method != "as it was" {
		t.Errorf("rejoined: %+v", r)
	}
}

// Trap 17: a transaction that is prepared outlives the switchover, with archiving on.
// The oldest and the newest server go there and back.
func TestTrap17APreparedTransactionOutlivesTheSwitchoverOnEveryMajor(t *testing.T) {
	t.Parallel()

	majors := []int{13, 18}
	if sandboxtest.Size(0, 1) == 1 {
		majors = sandboxtest.Majors
	}

	for _, major := range majors {
		p := newPairWith(t, sandboxtest.ToolsOf(t, major), archiving())
		p.exec(p.a, "BEGIN; INSERT INTO t (note) VALUES ('in doubt'); PREPARE TRANSACTION 'doubt'")
		p.exec(p.a, "SELECT pg_switch_wal()")
		p.exec(p.a, "INSERT INTO t (note) VALUES ('removed')")
		p.exec(p.a, "DELETE FROM t")

		p.switchover(p.a, p.b, 2)
		p.exec(p.b, "COMMIT PREPARED 'doubt'")

		if got := p.ask(p.b, "SELECT string_agg(note, ',') FROM t"); got != "in doubt" {
			t.Errorf("%d: the new primary has %q", major, got)
		}

		p.rejoin(p.a, p.b)
		p.exec(p.b, "DELETE FROM t")

		p.a, p.b = p.b, p.a
		there(t, p)
	}
}

// segmentOf names the file of a position.
func segmentOf(at targets.Position) string {
	_, tli, _ := targets.ParsePostgresTimeline(at.Timeline)
	return timelines.SegmentName(tli, at.Offset, 16<<20)
}

// flip changes one byte of a file, or changes it back.
func flip(t *testing.T, path string, at int64) {
	t.Helper()

	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	b := make([]byte, 1)
	if _, err := f.ReadAt(b, at); err != nil {
		t.Fatal(err)
	}

	b[0] ^= 1
	if _, err := f.WriteAt(b, at); err != nil {
		t.Fatal(err)
	}
}
