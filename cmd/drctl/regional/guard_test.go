package regional_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/epoch"
	"drctl/internal/proc"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// guard starts drctl guard beside the servers of a region; said is what it says.
func (p *place) guard(region string) (process *os.Process, said *lines) {
	p.Helper()

	said = &lines{}
	c := p.command("drctl", "guard", "--region", region)
	c.Stdout, c.Stderr = said, said

	if err := c.Start(); err != nil {
		p.Fatal(err)
	}

	p.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()

		if p.Failed() {
			p.Logf("guard of %s:\n%s", region, said)
		}
	})

	return c.Process, said
}

// epochs are what the voters have now.
func (p *place) epochs() (st epoch.State) {
	p.Helper()

	cfg, err := config.Load(filepath.Join(p.dir, "drctl.yaml"), os.LookupEnv)
	if err != nil {
		p.Fatal(err)
	}

	l, err := configured.New(cfg, sandboxtest.Tools(p.T), slog.New(slog.DiscardHandler)).Epochs(p.Context(), "shop")
	if err != nil {
		p.Fatal(err)
	}
	defer l.Close()

	p.until("the voters agree", func() bool { st, err = l.Read(p.Context()); return err == nil })

	return st
}

// covered waits until the guard of a region has answered for its servers in the present epoch.
func (p *place) covered(region string) {
	p.Helper()

	p.until("the guard of "+region+" answers for its servers", func() bool {
		st := p.epochs()

		return slices.ContainsFunc(st.Guards, func(g epoch.Guard) bool {
			return g.Holder == region && g.Epoch == st.Present.Epoch && st.Present.Holder == region && len(g.Instances) == 2
		})
	})
}

// running reports whether a server works in the directory of a region's PostgreSQL.
func (p *place) running(region string) bool {
	return len(proc.In(p.instance(region).DataDir, "postgres")) > 0
}

// TestFailoverByTheGuard loses a region whose guard was killed: nobody vouches, no program
// is run, and the end of the guard's lease is the proof. What comes back is stopped.
func TestFailoverByTheGuard(t *testing.T) {
	p := newPlace(t)
	p.serve()
	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.write("east", 100)

	east, _ := p.guard("east")
	p.covered("east")

	// A switchover hands the epoch over, and nobody's guard is in the way, also on the way home.
	p.guard("west")
	p.over(machine.Reached, "switchover", "run", "--to", "west")
	p.covered("west")
	p.standsBy("west", false)
	p.write("west", 50)
	p.must("drctl", "cut", "now")
	p.over(machine.Reached, "failback", "run")
	p.covered("east")
	p.has("east", 150)
	p.must("drctl", "cut", "now")

	_ = p.up.Process.Kill()
	_ = p.up.Wait()

	if err := east.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}

	p.until("the watchman has ended the servers of the east", func() bool { return !p.running("east") })

	o := p.over(machine.Reached, "failover", "run", "--engine", "embedded")
	if len(o.Answers) > 0 || p.epochs().Present.Holder != "west" {
		t.Errorf("%+v", o.Answers)
	}

	for _, s := range o.Steps {
		if s.Op == plan.OpFence && !strings.Contains(s.Said, "its lease of 5s is over") {
			t.Errorf("%s: %s", s.ID, s.Said)
		}
	}

	p.has("west", 150)
	p.standsBy("west", false)
	p.covered("west")

	// The east comes back with its guard.
	_, said := p.guard("east")

	s, err := sandboxtest.Tools(t).StartPostgres(t.Context(), servers.PostgresSpec{Dir: p.instance("east").DataDir, NoWait: true})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = s.Kill() })
	p.until("the guard has stopped what came back", func() bool { return !p.running("east") && strings.Contains(said.String(), "it is fenced") })
	p.standsBy("west", false)
}

// TestNoProofWithoutAGuard: where no guard has answered for a server, its lease proves
// nothing; and the region gets the epoch back that a run has claimed for nothing.
func TestNoProofWithoutAGuard(t *testing.T) {
	p := newPlace(t)
	p.serve()
	p.must("drctl", "backup", "now")
	p.must("drctl", "cut", "now")

	_ = p.up.Process.Kill()
	_ = p.up.Wait()

	p.asks("no guard has answered for orders/0@east", "--engine", "embedded")

	if st := p.epochs(); st.Present.Holder != "east" || st.Present.Epoch != 2 {
		t.Errorf("after a run that was taken back: %+v", st.Present)
	}

	p.guard("east")
	p.covered("east")
	p.standsBy("east", false)
}
