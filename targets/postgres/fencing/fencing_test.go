package fencing

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

func session(t *testing.T, in targets.Instance) *pgx.Conn {
	t.Helper()

	c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, "shop"))
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = c.Close(t.Context()) })

	return c
}

func TestHoldReleaseStop(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})

	s, err := Open(in)
	if err != nil {
		t.Fatal(err)
	}

	if w, err := s.Writable(t.Context()); err != nil || !w {
		t.Fatalf("writable: %v, %v", w, err)
	}

	open := session(t, in)
	if _, err := open.Exec(t.Context(), "BEGIN; CREATE TABLE held ()"); err != nil {
		t.Fatal(err)
	}

	if err := s.Hold(t.Context()); err != nil {
		t.Fatal(err)
	}

	if _, err := open.Exec(t.Context(), "COMMIT"); err == nil {
		t.Fatal("a session outlived the hold")
	}

	after := session(t, in)
	if _, err := after.Exec(t.Context(), "CREATE TABLE held ()"); err == nil {
		t.Fatal("a new session writes")
	}

	if err := s.Release(t.Context()); err != nil {
		t.Fatal(err)
	}

	for err = after.Ping(t.Context()); err == nil; { // the setting reaches sessions when they next look
		if _, err := after.Exec(t.Context(), "CREATE TABLE IF NOT EXISTS held ()"); err == nil {
			break
		}
	}

	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}

	for len(proc.In(s.dir, program)) > 0 {
		time.Sleep(5 * time.Millisecond)
	}

	if w, err := s.Writable(t.Context()); err != nil || w {
		t.Fatalf("one that is gone: %v, %v", w, err)
	}
}

func TestAStandbyTakesNoWrites(t *testing.T) {
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})

	s, err := Open(sandboxtest.Standby(t, in, sandboxtest.PostgresOptions{}))
	if err != nil {
		t.Fatal(err)
	}

	if w, err := s.Writable(t.Context()); err != nil || w {
		t.Fatalf("writable: %v, %v", w, err)
	}
}

// The server of another host is none that works here, whatever its directory is called.
func TestHere(t *testing.T) {
	own, other := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{}), sandboxtest.Postgres(t, sandboxtest.PostgresOptions{})
	strange := other
	strange.DataDir = own.DataDir

	for _, c := range []struct {
		in   targets.Instance
		here bool
	}{{own, true}, {strange, false}} {
		s, err := Open(c.in)
		if err != nil {
			t.Fatal(err)
		}

		if s.Here() {
			t.Error("it was not asked yet")
		}

		if _, err := s.Writable(t.Context()); err != nil {
			t.Fatal(err)
		}

		if s.Here() != c.here {
			t.Errorf("%s in %s is here: %t", c.in.Address, c.in.DataDir, s.Here())
		}
	}
}
