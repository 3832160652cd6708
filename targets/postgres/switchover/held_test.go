package switchover_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets/handover"
	"drctl/targets/postgres/fencing"
	"drctl/targets/postgres/postmaster"
)

// What a guard made read-only, before it stopped it, takes writes as soon as it is the primary again:
// nobody has to wait for the guard's next renewal.
func TestAServerThatItsGuardHasHeldTakesWritesWhenItIsPromotedAgain(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))

	hold := func() {
		t.Helper()

		s, err := fencing.Open(p.a)
		if err == nil {
			err = s.Hold(p.context())
		}

		if err != nil {
			t.Fatal(err)
		}
	}

	hold()

	known := stoppedNot(p).At
	p.until(p.b, "SELECT pg_last_wal_replay_lsn() >= '"+p.ask(p.a, "SELECT pg_current_wal_flush_lsn()")+"'")

	srv, err := postmaster.Find(p.a.DataDir)
	if err == nil {
		err = srv.Stop(p.context())
	}

	if err != nil {
		t.Fatal(err)
	}

	if _, err := p.hands(p.a, p.b, 2).Promote(p.context(), handover.PromoteRequest{Line: known, Silence: statement(p.a, 2)}); err != nil {
		t.Fatal(err)
	}

	if r := p.rejoin(p.a, p.b); r.Method != "as it was" {
		t.Fatalf("rejoined: %+v", r)
	}

	b, err := os.ReadFile(filepath.Join(p.a.DataDir, "postgresql.auto.conf"))
	if err != nil || strings.Contains(string(b), fencing.Held) {
		t.Errorf("the new standby is to refuse writes if it is promoted: %s, %v", b, err)
	}

	// A standby that was never rejoined may have it, too.
	p.exec(p.a, "ALTER SYSTEM SET "+fencing.Held+" = on")
	p.exec(p.a, "SELECT pg_reload_conf()")
	p.until(p.a, "SELECT current_setting('"+fencing.Held+"')::bool")

	p.switchover(p.b, p.a, 3)
	p.exec(p.a, "INSERT INTO t (note) VALUES ('after')")
}

// Where drctl may not change the setting, the promotion waits for the guard.
func TestAPromotionWaitsUntilTheGuardLetsGo(t *testing.T) {
	t.Parallel()
	p := newPair(t, sandboxtest.Tools(t))

	p.exec(p.a, "CREATE ROLE orchestrator LOGIN REPLICATION PASSWORD '"+sandboxtest.Password+"' IN ROLE pg_monitor")
	p.exec(p.a, "GRANT EXECUTE ON FUNCTION pg_promote TO orchestrator")
	p.exec(p.a, "CHECKPOINT")

	known := stoppedNot(p).At
	p.until(p.b, "SELECT pg_last_wal_replay_lsn() >= '"+p.ask(p.a, "SELECT pg_current_wal_flush_lsn()")+"'")

	p.exec(p.b, "ALTER SYSTEM SET "+fencing.Held+" = on")
	p.exec(p.b, "SELECT pg_reload_conf()")
	p.until(p.b, "SELECT current_setting('"+fencing.Held+"')::bool")
	p.kill(p.a)

	guard, err := fencing.Open(p.b)
	if err != nil {
		t.Fatal(err)
	}

	weak := p.b
	weak.User = "orchestrator"

	released := make(chan error, 1)
	go func() {
		for {
			w, err := guard.Writable(p.context())
			if err == nil && w {
				time.Sleep(300 * time.Millisecond) // it looks when it renews
				err = guard.Release(p.context())
			} else if err == nil {
				continue
			}

			released <- err

			return
		}
	}()

	if _, err := p.hands(p.a, weak, 2).Promote(p.context(), handover.PromoteRequest{Line: known, Silence: statement(p.a, 2)}); err != nil {
		t.Fatal(err)
	}

	p.exec(p.b, "INSERT INTO t (note) VALUES ('after')")

	if err := <-released; err != nil {
		t.Fatal(err)
	}
}
