package postgres_test

import (
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/postgres/wal"
)

// A tablespace made after the base: its replay would reach into the live one.
func TestTablespaceMadeAfterTheBase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	w.d = without(t, "pg_waldump") // of a client's package in some distributions
	base := w.base(t, w.in, "base-1")
	mount := filepath.Join(sandboxtest.Dir(t), "mount")

	late := filepath.Join(mount, "late")
	if err := errors.Join(os.MkdirAll(late, 0o755), sandboxtest.Tools(t).RunAs.Own(mount)); err != nil {
		t.Fatal(err)
	}

	run(t, w.c, "CREATE TABLESPACE late LOCATION '"+late+"'")
	run(t, w.c, "CREATE TABLE cold TABLESPACE late AS SELECT g AS id FROM generate_series(1, 700) g")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-eeef")
	w.a.reach(t, w.id, at.Offset)
	_ = w.stop()
	was := content(t, late)
	w.dir = sandboxtest.Dir(t)
	_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Conflict, late)

	if content(t, late) != was {
		t.Fatal("the refused restore wrote to the live tablespace")
	}

	// Where only the directory is missing, as when a mount is, a sandbox puts nothing.
	if err := os.Rename(late, late+".live"); err != nil {
		t.Fatal(err)
	}
	w.dir = sandboxtest.Dir(t)
	_, err = w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Conflict, late)

	if _, err := os.Lstat(late); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the refused restore left something at %s: %v", late, err)
	}

	// Nor where a directory farther up is all that is there: it may be the mount point.
	if err := os.Rename(mount, mount+".live"); err != nil {
		t.Fatal(err)
	}
	w.dir = sandboxtest.Dir(t)
	_, err = w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Conflict, late)

	if _, err := os.Lstat(mount); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the refused restore left something at %s: %v", mount, err)
	}

	// On a host that has no such place the tablespace is kept inside, and nothing
	// is left at the path.
	postgres.HostRoot(w.d, filepath.Dir(mount))
	w.dir = sandboxtest.Dir(t)
	sb, out := w.restore(t, w.request(base, at))

	c := sandboxOpen(t, sb)
	if n := value[int](t, c, "SELECT count(*)::int FROM cold"); n != 700 || out.Reached != at {
		t.Fatalf("%d rows, want 700", n)
	}

	run(t, c, "CREATE TABLE more TABLESPACE late AS SELECT 1")
	run(t, c, "CHECKPOINT")

	loc := value[string](t, c, "SELECT pg_tablespace_location(oid) FROM pg_tablespace WHERE spcname = 'late'")
	if !strings.HasPrefix(loc, sb.DataDir+"/") {
		t.Fatalf("the sandbox uses the tablespace at %s", loc)
	}

	if _, err := os.Lstat(late); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("something is left at %s: %v", late, err)
	}
}

// without makes a driver whose server programs lack one.
func without(t *testing.T, program string) *postgres.Driver {
	t.Helper()
	tools, dir := sandboxtest.Tools(t), sandboxtest.Dir(t)

	programs, err := filepath.Glob(filepath.Join(tools.PostgresBin, "*"))
	if err != nil {
		t.Fatal(err)
	}

	for _, p := range programs {
		if filepath.Base(p) == program {
			continue
		}

		if err := os.Symlink(p, filepath.Join(dir, filepath.Base(p))); err != nil {
			t.Fatal(err)
		}
	}
	tools.PostgresBin = dir

	return postgres.New(postgres.Options{Tools: tools})
}

// A record about a tablespace that says nothing has not said that there is none.
func TestATablespaceThatCannotBeRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")

	late := filepath.Join(sandboxtest.Dir(t), "late")
	if err := errors.Join(os.MkdirAll(late, 0o755), sandboxtest.Tools(t).RunAs.Own(late)); err != nil {
		t.Fatal(err)
	}

	run(t, w.c, "SELECT pg_switch_wal()") // the record lies on one page
	run(t, w.c, "CREATE TABLESPACE late LOCATION '"+late+"'")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-eeee")
	w.a.reach(t, w.id, at.Offset)
	_ = w.stop()

	l, planted := w.a.timelines[w.id], false

	for _, rec := range w.records(t, w.id, base.From.Offset, at.Offset, wal.Timeline{ID: 1}) {
		x, ok, err := rec.Space()
		if err != nil {
			t.Fatal(err)
		}

		if !ok || x.Location != late {
			continue
		}
		b := l.parts[0].data[uint64(rec.Start)-l.start:][:rec.Length]
		b[len(b)-1] = 'x' // the end of the location
		table := crc32.MakeTable(crc32.Castagnoli)
		binary.LittleEndian.PutUint32(b[20:], crc32.Update(crc32.Checksum(b[24:], table), table, b[:20]))

		planted = true
	}

	if !planted {
		t.Fatal("the log has no such tablespace")
	}

	_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Corrupt, "whether tablespaces were made", "has no end")
}

// A log that is damaged before the point from which the base is complete hides
// the tablespaces behind the place, while the replay may begin behind it.
func TestRestoreRefusesALogDamagedBeforeTheBaseIsComplete(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	base := w.base(t, w.in, "base-1")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-cccd")
	w.a.reach(t, w.id, at.Offset)
	_ = w.stop()
	l := w.a.timelines[w.id]
	l.parts[0].data[base.From.Offset+100-l.start] ^= 0x10 // before its checkpoint
	_, err := w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Corrupt, "before the base is complete", targets.FormatLSN(base.Until.Offset))
}
