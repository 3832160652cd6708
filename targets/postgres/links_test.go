package postgres_test

import (
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// content hashes the names, types and bytes of a directory.
func content(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()

	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}

		fmt.Fprintln(h, path, e.Type())

		if e.Type().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}

			h.Write(b)
		}

		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	return fmt.Sprintf("%x", h.Sum(nil))
}

// Nothing is written through what a base has instead of a directory: it leads
// to the live files.
func TestRestoreWritesThroughNoLink(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})

	outside := sandboxtest.Dir(t) // a tablespace's location
	if err := sandboxtest.Tools(t).RunAs.Own(outside); err != nil {
		t.Fatal(err)
	}

	run(t, w.c, "CREATE TABLESPACE elsewhere LOCATION '"+outside+"'")
	run(t, w.c, "CREATE TABLE away (n int) TABLESPACE elsewhere")
	base := w.base(t, w.in, "base-1")
	run(t, w.c, "UPDATE account SET balance = balance")
	run(t, w.c, "INSERT INTO away VALUES (1)")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-11f1")
	w.a.reach(t, w.id, at.Offset)
	_ = w.stop()
	database := value[string](t, w.c, "SELECT 'base/' || oid FROM pg_database WHERE datname = 'shop'")
	tree := filepath.Join(w.s.dir, base.Snapshot)

	var space string
	for _, where := range base.Tablespaces {
		_, rest, _ := strings.Cut(where, "=")
		snapshot, _, _ := strings.Cut(rest, ":")
		space = filepath.Join(w.s.dir, snapshot)
	}

	inside, err := filepath.Glob(space + "/PG_*/*")
	if err != nil || len(inside) != 1 {
		t.Fatalf("%v in %s: %v", inside, space, err)
	}

	for _, x := range []struct {
		name, path string
		role       targets.Role
		refused    bool
	}{
		{"a database", filepath.Join(tree, database), targets.Sandbox, true},
		{"a database, into an instance", filepath.Join(tree, database), targets.Primary, true},
		{"all databases", filepath.Join(tree, "base"), targets.Sandbox, true},
		{"the directory of the control file", filepath.Join(tree, "global"), targets.Sandbox, true},
		{"the transactions' status", filepath.Join(tree, "pg_xact"), targets.Sandbox, true},
		{"a database in a tablespace", inside[0], targets.Sandbox, true},
		{"the log directory", filepath.Join(tree, "log"), targets.Sandbox, false},
	} {
		t.Run(x.name, func(t *testing.T) {
			live := filepath.Join(sandboxtest.Dir(t), "live")
			if err := os.Rename(x.path, live); os.IsNotExist(err) {
				err = os.Mkdir(live, 0o700)
				if err != nil {
					t.Fatal(err)
				}
			} else if err != nil {
				t.Fatal(err)
			}

			if err := os.Symlink(live, x.path); err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = os.Remove(x.path)
				_ = os.Rename(live, x.path)
			}()

			if err := sandboxtest.Tools(t).RunAs.Own(live); err != nil {
				t.Fatal(err)
			}
			was := content(t, live)
			w.dir = sandboxtest.Dir(t)
			in := w.sandbox()
			in.Role = x.role

			out, err := w.d.Restore(ctxFor(t, 2*time.Minute), in, w.request(base, at), w.s)
			if out.Pid != 0 {
				stopPid(t, out.Pid)
			}

			if content(t, live) != was {
				t.Error("the restore wrote to the files that the link leads to")
			}

			if !x.refused {
				if err != nil {
					t.Fatal(err)
				}

				return
			}

			wantCode(t, err, fail.Unsupported, filepath.Base(x.path), live)
		})
	}

	pipe := filepath.Join(tree, database, "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	w.dir = sandboxtest.Dir(t)
	_, err = w.d.Restore(ctxFor(t, 2*time.Minute), w.sandbox(), w.request(base, at), w.s)
	wantCode(t, err, fail.Unsupported, database+"/pipe")
	_ = os.Remove(pipe)

	w.dir = sandboxtest.Dir(t)
	if _, out := w.restore(t, w.request(base, at)); out.Reached != at {
		t.Fatalf("reached %+v", out.Reached)
	}
}
