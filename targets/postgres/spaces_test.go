package postgres_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
	"drctl/targets/postgres"
)

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
	l := w.a.lineages[w.id]
	l.parts[0].data[base.From.Offset+100-l.start] ^= 0x10 // before its checkpoint
	_, err := w.d.Restore(ctxFor(t, time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Corrupt, "before the base is complete", targets.FormatLSN(base.Until.Offset))
}
