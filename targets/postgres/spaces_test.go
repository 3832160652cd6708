package postgres_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

// A tablespace made after the base: its replay would reach into the live one.
func TestTablespaceMadeAfterTheBase(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
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

	// A pg_waldump that is killed has not said that there is no tablespace.
	w.dir = sandboxtest.Dir(t)
	into := w.sandbox()
	into.Role = targets.Primary
	_, err = brokenDump(t, "kill -9 $$").Restore(ctxFor(t, 2*time.Minute), into, w.request(base, at), w.s)
	wantCode(t, err, fail.Internal, "killed")
	w.dir = sandboxtest.Dir(t)
	into = w.sandbox()
	into.Role = targets.Primary
	_, err = brokenDump(t, "echo 'pg_waldump: error: out of memory' >&2; exit 1").Restore(ctxFor(t, 2*time.Minute), into, w.request(base, at), w.s)
	wantCode(t, err, fail.Internal, "out of memory")

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

// brokenDump makes a driver whose pg_waldump is a script.
func brokenDump(t *testing.T, script string) *postgres.Driver {
	t.Helper()
	tools, dir := sandboxtest.Tools(t), sandboxtest.Dir(t)

	programs, err := filepath.Glob(filepath.Join(tools.PostgresBin, "*"))
	if err != nil {
		t.Fatal(err)
	}

	for _, p := range programs {
		to := filepath.Join(dir, filepath.Base(p))
		if filepath.Base(p) == "pg_waldump" {
			err = os.WriteFile(to, []byte("#!/bin/sh\n"+script+"\n"), 0o755)
		} else {
			err = os.Symlink(p, to)
		}

		if err != nil {
			t.Fatal(err)
		}
	}
	tools.PostgresBin = dir

	return postgres.New(postgres.Options{Tools: tools})
}

// A log that is damaged before the point from which the base is complete hides
// the tablespaces behind the place from pg_waldump, while the replay may begin
// behind it.
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
