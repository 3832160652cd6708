package postgres_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/targets"
)

// changed stops the world's server, changes its files and starts it again at
// the same address.
func (w *world) changed(t *testing.T, proc *servers.Server, settings map[string]string, change func()) {
	t.Helper()
	ctx := ctxFor(t, 2*time.Minute)
	_ = w.stop()

	if err := proc.Stop(ctx); err != nil {
		t.Fatal(err)
	}

	change()
	_, text, _ := strings.Cut(w.in.Address, ":")

	port, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}

	set := map[string]string{"max_prepared_transactions": "64"}
	for k, v := range settings {
		set[k] = v
	}

	*proc, err = sandboxtest.Tools(t).StartPostgres(ctx, servers.PostgresSpec{Dir: w.in.DataDir, Port: port, Settings: set,
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"}})
	if err != nil {
		t.Fatal(err)
	}
	p := *proc
	t.Cleanup(func() { _ = p.Kill() })
	w.c = open(t, w.in)
	w.stop = follow(t, w.d, w.in, w.a)
}

// moved puts a part of a data directory elsewhere and links it there.
func moved(t *testing.T, path string) {
	t.Helper()

	elsewhere := filepath.Join(sandboxtest.Dir(t), filepath.Base(path))
	if err := errors.Join(os.Rename(path, elsewhere), os.Symlink(elsewhere, path), sandboxtest.Tools(t).RunAs.Own(path)); err != nil {
		t.Fatal(err)
	}
}

// A base that would lack a database is not taken: neither method follows a link
// inside the data directory.
func TestBaseRefusesWhatItCannotHold(t *testing.T) {
	t.Parallel()
	var proc servers.Server
	w := newWorld(t, sandboxtest.PostgresOptions{Proc: &proc})
	run(t, w.c, "CREATE DATABASE other")
	database := "base/" + value[string](t, w.c, "SELECT oid::text FROM pg_database WHERE datname = 'other'")
	w.changed(t, &proc, nil, func() {
		moved(t, filepath.Join(w.in.DataDir, database))
		moved(t, filepath.Join(w.in.DataDir, "pg_xact"))
	})
	wire := w.in

	wire.DataDir = ""
	for method, in := range map[string]targets.Instance{"files": w.in, "wire": wire} {
		_, err := w.d.Base(ctxFor(t, 2*time.Minute), in, targets.BaseRequest{ID: "base-" + method}, w.s)
		wantCode(t, err, fail.Unsupported, "symbolic link", "TABLESPACE")

		both := strings.Contains(err.Error(), database) && strings.Contains(err.Error(), "pg_xact")
		if one := strings.Contains(err.Error(), database) || strings.Contains(err.Error(), "pg_xact"); !one || method == "files" && !both {
			t.Fatalf("%s: %v", method, err)
		}
	}

	// What is no part of the database may be elsewhere, and the base says so.
	hba := filepath.Join(sandboxtest.Dir(t), "pg_hba.conf")
	w.changed(t, &proc, map[string]string{"hba_file": hba}, func() {
		shell(t, "cp", "-a", filepath.Join(w.in.DataDir, "pg_hba.conf"), hba)

		for _, name := range []string{database, "pg_xact"} {
			link := filepath.Join(w.in.DataDir, name)

			to, err := os.Readlink(link)
			if err := errors.Join(err, os.Remove(link), os.Rename(to, link)); err != nil {
				t.Fatal(err)
			}
		}

		report := filepath.Join(w.in.DataDir, "reports")
		if err := errors.Join(os.Mkdir(report, 0o700), sandboxtest.Tools(t).RunAs.Own(report)); err != nil {
			t.Fatal(err)
		}

		moved(t, report)
	})

	for method, in := range map[string]targets.Instance{"files": w.in, "wire": wire} {
		base := w.base(t, in, "base-with-"+method)
		if base.Method != method {
			t.Fatalf("method %s, want %s", base.Method, method)
		}

		if !strings.Contains(w.log.String(), "reports") {
			t.Fatalf("%s: nothing says that the base leaves out what the link leads to", method)
		}

		if got := base.Settings["drctl.configuration_elsewhere"]; got != hba || !strings.Contains(w.log.String(), hba) {
			t.Fatalf("%s: the record has %q as the configuration that the base lacks, want %s", method, got, hba)
		}
	}
}

// The server's own archive has no say in a base: drctl archives by itself, and
// a broken archive is when a base is needed.
func TestWireBaseBesideABrokenArchive(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{Settings: map[string]string{"archive_mode": "on", "archive_command": "false"}})
	in := w.in
	in.DataDir = ""
	base := w.base(t, in, "base-1")
	run(t, w.c, "INSERT INTO journal DEFAULT VALUES")
	at := mark(t, w.d, w.in, "20260101T000000.000Z-abcd")
	w.a.reach(t, w.id, at.Offset)

	sb, _ := w.restore(t, w.request(base, at))
	if n := value[int](t, sandboxOpen(t, sb), "SELECT count(*)::int FROM journal"); n != 1 {
		t.Fatalf("%d rows, want 1", n)
	}
}

// Time-outs that the platform sets for its own sessions do not end drctl's: that
// of a backup is idle as long as the data is read.
func TestPlatformTimeoutsDoNotEndASession(t *testing.T) {
	t.Parallel()
	w := newWorld(t, sandboxtest.PostgresOptions{})
	_ = w.stop()
	run(t, w.c, "SET idle_session_timeout = 0")
	run(t, w.c, "ALTER SYSTEM SET idle_session_timeout = '200ms'")

	for _, n := range []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"} {
		run(t, w.c, "ALTER ROLE drctl SET "+n+" = '1ms'")
	}

	run(t, w.c, "SELECT pg_reload_conf()")
	stop := follow(t, w.d, w.in, w.a)
	w.s.onTree = func() { time.Sleep(time.Second) }
	wire := w.in

	wire.DataDir = ""
	for method, in := range map[string]targets.Instance{"files": w.in, "wire": wire} {
		if base := w.base(t, in, "base-"+method); base.Method != method {
			t.Fatalf("method %s, want %s", base.Method, method)
		}
	}
	at := mark(t, w.d, w.in, "20260101T000000.000Z-abce")
	w.a.reach(t, w.id, at.Offset)

	if err := stop(); !errors.Is(err, context.Canceled) {
		t.Fatalf("the archiver ended: %v", err)
	}
}
