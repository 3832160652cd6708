package postgres_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/postgres/wal"
)

// worldOf is a world on a server of a major version whose log has the smallest
// segments. Nothing but the test writes; its database is postgres.
func worldOf(t *testing.T, major int) (w *world, proc *servers.Server) {
	t.Helper()
	tools := toolsOf(t, major)
	dir := sandboxtest.NewCluster(t, tools, 1<<20)
	proc = &servers.Server{}
	w = &world{log: &logBuffer{}}
	w.d = postgres.New(postgres.Options{Tools: tools, Log: slog.New(slog.NewTextHandler(w.log, nil))})
	w.in = sandboxtest.Start(t, tools, dir, sandboxtest.PostgresOptions{Proc: proc, Settings: quietServer})
	w.c = open(t, w.in)
	run(t, w.c, "CREATE TABLE journal (n bigserial PRIMARY KEY)")
	w.a = newArchive()
	w.s = newStore(t, w.a)
	w.id = timelineOf(t, w.d, w.in)
	w.stop = follow(t, w.d, w.in, w.a)
	w.a.reach(t, w.id, lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text"))
	w.dir = sandboxtest.Dir(t)

	return w, proc
}

// toolsOf are the programs of a major version.
func toolsOf(t *testing.T, major int) servers.Binaries {
	t.Helper()

	if major == 15 {
		return sandboxtest.Tools(t)
	}

	return sandboxtest.ToolsOf(t, major)
}

var quietServer = map[string]string{"autovacuum": "off", "wal_keep_size": "1GB", "max_wal_size": "1GB", "checkpoint_timeout": "1h"}

// records are those of the archived log from a place on.
func (w *world) records(t *testing.T, id string, from, to uint64, way ...wal.Timeline) (all []wal.Record) {
	t.Helper()

	b, err := w.a.bytes(id, from, to)
	if err != nil {
		t.Fatal(err)
	}

	r, err := wal.NewReader(bytes.NewReader(b), wal.Options{Start: wal.LSN(from), All: true, Timelines: way})
	if err != nil {
		t.Fatal(err)
	}

	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return all
		}

		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rec)
	}
}

// place is where a recovery is to end, with what is there then.
type place struct {
	name     string
	at       uint64
	rows     int // of the journal
	prepared int
	timeline string // "" is the first
	path     []targets.Span
}

// work writes a few segments of log, with records of many lengths, and whole global transactions.
func work(t *testing.T, c *pgx.Conn) {
	t.Helper()

	for i := range 300 {
		run(t, c, "BEGIN")
		run(t, c, "INSERT INTO journal DEFAULT VALUES")
		run(t, c, "SELECT pg_logical_emit_message(true, 'x', repeat('y', $1))", i*37%5000)

		if i%50 == 10 {
			run(t, c, "PREPARE TRANSACTION 'p'")
			run(t, c, "INSERT INTO journal DEFAULT VALUES")
			run(t, c, "COMMIT PREPARED 'p'")
		} else {
			run(t, c, "COMMIT")
		}

		if i%120 == 60 {
			run(t, c, "SELECT pg_switch_wal()")
		}

		if i%20 == 19 {
			endPage(t, c)
		}
	}
}

// endPage writes a record that ends the page, unless another comes in between.
func endPage(t *testing.T, c *pgx.Conn) {
	t.Helper()
	const head = 55 // of a message with the prefix x

	left := wal.PageSize - lsn(t, c, "SELECT pg_current_wal_insert_lsn()::text")%wal.PageSize
	if left > 1000 {
		run(t, c, "SELECT pg_logical_emit_message(false, 'x', repeat('y', $1))", left-head)
	}
}

// places finds one of each kind in a log whose transactions all write one row.
func places(t *testing.T, all []wal.Record, base targets.Artifact) []place {
	t.Helper()
	const segment = 1 << 20
	found := map[string]place{}
	rows, prepared := 0, 0

	for i, rec := range all {
		if uint64(rec.Start) >= base.Until.Offset && i > 0 {
			before, start := all[i-1], uint64(rec.Start)
			keep := func(name string, at uint64, here bool) {
				// Not the first one: there is to be something before it.
				if _, ok := found[name]; here && rows > 20 && !ok {
					found[name] = place{name: name, at: at, rows: rows, prepared: prepared}
				}
			}
			page, seg := start-start%wal.PageSize, start%segment == 40
			keep("in the middle of a page", start, rec.Kind == wal.Commit && start%wal.PageSize > 1000)
			keep("behind the header of a page", start, !seg && start%wal.PageSize == 24 && uint64(before.End) == page)
			keep("where a page begins, behind a record that ends one", page, !seg && start%wal.PageSize == 24 && uint64(before.End) == page)
			keep("behind the header of a segment", start, seg)
			keep("at the first byte of a segment", page, seg)
			keep("behind a switch of segments", uint64(before.End), before.Kind == wal.SegmentSwitch)
			keep("in the rest of a segment that was left", uint64(before.Start)+32, before.Kind == wal.SegmentSwitch && before.Start%segment < segment-4096)
			keep("behind COMMIT PREPARED", uint64(before.End), before.Kind == wal.CommitPrepared)
			keep("between PREPARE and another record", uint64(before.End), before.Kind == wal.Prepare)
			keep("before a record that lies across pages", start, start%wal.PageSize > 8000 && uint64(rec.End) > page+wal.PageSize+100)
		}

		switch {
		case uint64(rec.Start) < base.Until.Offset:
		case rec.Kind == wal.Commit:
			rows++
		case rec.Kind == wal.Prepare:
			prepared++
		case rec.Kind == wal.CommitPrepared:
			rows, prepared = rows+1, prepared-1
		}
	}

	var out []place
	for _, p := range found {
		out = append(out, p)
	}

	if len(out) != 10 {
		t.Fatalf("the log has only these places: %+v", out)
	}

	return out
}

// restoredAt restores to a place and looks at what is there.
func (w *world) restoredAt(t *testing.T, base targets.Artifact, p place) {
	t.Helper()
	w.dir = sandboxtest.Dir(t)

	id := w.id
	if p.timeline != "" {
		id = p.timeline
	}

	req := w.request(base, targets.Position{Kind: targets.Postgres, Timeline: id, Offset: p.at})
	if p.path != nil {
		req.Path = p.path
	}

	sb, out := w.restore(t, req)
	if out.Reached != req.Point {
		t.Errorf("%s: reached %+v, want %+v", p.name, out.Reached, req.Point)
	}

	c := sandboxOpen(t, sb)
	if rows, prepared := value[int](t, c, "SELECT count(*)::int FROM journal"), value[int](t, c, "SELECT count(*)::int FROM pg_prepared_xacts"); rows != p.rows || prepared != p.prepared {
		t.Errorf("%s (%s): %d rows and %d prepared, want %d and %d", p.name, targets.FormatLSN(p.at), rows, prepared, p.rows, p.prepared)
	}
	_ = c.Close(context.Background())

	stopPid(t, out.Pid)
}

// A cut that was read out of the logs names a place and no restore point. Recovery
// ends exactly there, wherever it lies, or fails.
func TestRestoreToAPlaceInTheLog(t *testing.T) {
	majors := []int{15, 18, 13}
	for _, major := range majors[:sandboxtest.Size(1, 3)] {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			w, proc := worldOf(t, major)
			base := w.base(t, w.in, "base-1")
			work(t, w.c)

			run(t, w.c, "INSERT INTO journal DEFAULT VALUES") // flushes all
			end := lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text")
			w.a.reach(t, w.id, end)
			total := value[int](t, w.c, "SELECT count(*)::int FROM journal")
			all := w.records(t, w.id, base.From.Offset, w.a.timelines[w.id].end(), wal.Timeline{ID: 1})
			list := places(t, all, base)

			for _, p := range append(list, place{name: "where the base is whole", at: base.Until.Offset}, place{name: "at the end of an idle server's log", at: end, rows: total}) {
				w.restoredAt(t, base, p)
			}

			damagedAt(t, w, base, all)
			w.restoredBehindASwitch(t, major, proc, base, total)
		})
	}
}

// damagedAt plants damage at the end of the log: none is reported as recovered.
func damagedAt(t *testing.T, w *world, base targets.Artifact, all []wal.Record) {
	t.Helper()
	_ = w.stop() // nothing comes from the server any more
	l := w.a.timelines[w.id]

	var last, across wal.Record // a commit in a page; a record that ends one
	for i, rec := range all[:len(all)-1] {
		if rec.Kind == wal.Commit && rec.Start%wal.PageSize+200 < wal.PageSize && uint64(rec.Start) > base.Until.Offset+1<<19 {
			last = rec
		}

		if uint64(rec.End)%wal.PageSize == 0 && uint64(rec.End)%(1<<20) != 0 && all[i+1].Start%wal.PageSize == 24 && uint64(rec.Start) > base.Until.Offset {
			across = rec
		}
	}

	plant := func(name string, at uint64, from wal.LSN, damage func(b []byte), words ...string) {
		t.Helper()
		i := uint64(from) - l.start
		bytes := l.parts[0].data[i:]
		was := append([]byte(nil), bytes[:min(4096, len(bytes))]...)
		damage(bytes)
		w.dir = sandboxtest.Dir(t)
		_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, targets.Position{Kind: targets.Postgres, Timeline: w.id, Offset: at}), w.s)

		copy(bytes, was)

		if err == nil {
			t.Errorf("%s: it was reported as recovered", name)
			return
		}

		wantCode(t, err, fail.Corrupt, append(words, "replay ended at", targets.FormatLSN(at))...)
	}
	length := int(last.End - last.Start)
	plant("the last record is missing", uint64(last.End), last.Start, func(b []byte) { clear(b[:length]) }, targets.FormatLSN(uint64(last.Start)))
	plant("a byte of the last record is wrong", uint64(last.End), last.Start, func(b []byte) { b[26] ^= 1 }, "checksum")
	plant("the length of a record that ends a page is wrong", uint64(across.End), across.Start, func(b []byte) {
		binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)+400)
	})
	plant("the point lies in a record", uint64(last.End)-8, last.Start, func([]byte) {})
}

// restoredBehindASwitch promotes the server and restores to both sides of the place
// where the new timeline begins.
func (w *world) restoredBehindASwitch(t *testing.T, major int, proc *servers.Server, base targets.Artifact, rows int) {
	t.Helper()
	ctx := ctxFor(t, 2*time.Minute)

	if err := proc.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(w.in.DataDir, "standby.signal"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	tools := toolsOf(t, major)

	if err := tools.RunAs.Own(filepath.Join(w.in.DataDir, "standby.signal")); err != nil {
		t.Fatal(err)
	}
	in := sandboxtest.Start(t, tools, w.in.DataDir, sandboxtest.PostgresOptions{Settings: quietServer})
	c := promote(t, in)
	run(t, c, "INSERT INTO journal DEFAULT VALUES")

	end := lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text")
	stop := follow(t, w.d, in, w.a)
	two := strings.TrimSuffix(w.id, "1") + "2"
	w.a.reach(t, two, lsn(t, c, "SELECT pg_current_wal_flush_lsn()::text"))
	_ = stop()
	l := w.a.timelines[two]
	left := l.parent.Offset
	path := func(to uint64) []targets.Span {
		return []targets.Span{{Timeline: w.id, From: base.From.Offset, To: left}, {Timeline: two, From: left, To: to}}
	}

	all := w.records(t, two, l.start, l.end(), wal.Timeline{ID: 1}, wal.Timeline{ID: 2, Begin: wal.LSN(left)})

	first := wal.Record{}
	for _, rec := range all {
		if first.End == 0 && uint64(rec.Start) >= left {
			first = rec
		}
	}

	for _, p := range []place{
		{name: "where the timeline begins", at: left, rows: rows, timeline: two, path: path(left)},
		{name: "behind the first record of the timeline", at: uint64(first.End), rows: rows, timeline: two, path: path(uint64(first.End))},
		{name: "at the end of the timeline", at: end, rows: rows + 1, timeline: two, path: path(end)},
	} {
		w.restoredAt(t, base, p)
	}
}

// Why the log ends at the point, and recovery_target_lsn does not: a server that is told
// the place wants to read a whole record behind it.
func TestATargetInTheLogWantsARecordBehindIt(t *testing.T) {
	t.Parallel()
	w, _ := worldOf(t, 15)
	base := w.base(t, w.in, "base-1")
	run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
	end := lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text")
	w.a.reach(t, w.id, end)
	w.restoredAt(t, base, place{name: "without a target", at: end, rows: 1})
	laid := filepath.Join(w.dir, "work", "wal")

	run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
	w.a.reach(t, w.id, lsn(t, w.c, "SELECT pg_current_wal_flush_lsn()::text"))
	tools := toolsOf(t, 15)

	for _, whole := range []bool{false, true} {
		dir := filepath.Join(sandboxtest.Dir(t), "pg")
		if out, err := exec.Command("cp", "-a", filepath.Join(w.s.dir, base.Snapshot), dir).CombinedOutput(); err != nil {
			t.Fatalf("%v: %s", err, out)
		}

		for name, content := range map[string]string{"backup_label": "", "global/pg_control": "", "recovery.signal": "x"} {
			b := []byte(content)
			if content == "" {
				var err error
				if b, err = w.s.File(t.Context(), base, filepath.Base(name)); err != nil {
					t.Fatal(err)
				}
			}

			if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
		}

		if err := errors.Join(os.MkdirAll(filepath.Join(dir, "pg_wal"), 0o700), tools.RunAs.Own(dir)); err != nil {
			t.Fatal(err)
		}

		log := laid
		if whole {
			log = filepath.Join(w.in.DataDir, "pg_wal")
		}

		p, err := tools.StartPostgres(ctxFor(t, 2*time.Minute), servers.PostgresSpec{Dir: dir, LogFile: filepath.Join(dir, "own.log"), Settings: map[string]string{
			"restore_command": "cp " + log + "/%f %p", "recovery_target_lsn": targets.FormatLSN(end), "recovery_target_inclusive": "off",
			"recovery_target_action": "promote", "max_prepared_transactions": "64"}})

		// Its recovery ends after it takes readers, or with it.
		ended := regexp.MustCompile("recovery stopping before|recovery ended before configured recovery target was reached")

		var b []byte
		for until := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
			if b, _ = os.ReadFile(filepath.Join(dir, "own.log")); ended.Match(b) || time.Now().After(until) {
				break
			}
		}

		if err == nil {
			_ = p.Kill()
		}

		if short := strings.Contains(string(b), "recovery ended before configured recovery target was reached"); short == whole {
			t.Errorf("with a record behind the point: %t; %v\n%s", whole, err, b)
		}
	}
}
