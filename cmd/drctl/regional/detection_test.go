package regional_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/cmd/drctl/answer"
	"drctl/internal/detection"
	"drctl/internal/human"
	"drctl/internal/lab"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows/recovery"
)

// configure adds to the lab's configuration.
func (p *place) configure(text string) {
	p.Helper()
	file := filepath.Join(p.dir, "drctl.yaml")

	b, err := os.ReadFile(file)
	if err != nil {
		p.Fatal(err)
	}

	if bytes.Contains(b, []byte("\nrecovery:")) || bytes.Contains(b, []byte("\ndetection:")) {
		p.Fatal("the lab's configuration has this section already")
	}

	if err := os.WriteFile(file, append(b, text...), 0o600); err != nil {
		p.Fatal(err)
	}
}

// automatic lets the shop fail over by itself.
const automatic = `
detection: {interval: 500ms, limit: 1s, lost: 2s, up: 2s, places: [third]}
recovery:
  shop: {decision: automatic, stay: [media]}
`

// third starts a vantage point in a third place.
func (p *place) third(flags ...string) *exec.Cmd {
	p.Helper()

	said := &lines{}
	c := p.command("drctl", append(flags, "detection", "watch", "--at", "third")...)
	c.Stdout, c.Stderr = said, said

	if err := c.Start(); err != nil {
		p.Fatal(err)
	}

	p.Cleanup(func() {
		_ = c.Process.Signal(syscall.SIGTERM)
		_ = c.Wait()

		if p.Failed() {
			p.Logf("third:\n%s", said)
		}
	})

	return c
}

// seen is what places hold of the region that may write.
func (p *place) seen() map[string]detection.Vote {
	p.Helper()

	var all []answer.Detection
	if out, said, code := p.run("drctl", "detection", "show", "--json"); code != 0 || json.Unmarshal([]byte(out), &all) != nil || len(all) != 1 {
		p.Logf("detection show: exit %d: %s", code, said)
		return nil
	}
	out := map[string]detection.Vote{}

	for _, v := range all[0].Votes {
		if was, ok := out[v.Place]; !ok || v.Wall.After(was.Wall) {
			out[v.Place] = v
		}
	}

	return out
}

// held waits until places hold a state of a region.
func (p *place) held(region string, state detection.State, places ...string) {
	p.Helper()

	p.until(fmt.Sprintf("%s is %s for %v", region, state, places), func() bool {
		seen := p.seen()

		return !slices.ContainsFunc(places, func(at string) bool { v := seen[at]; return v.Region != region || v.State != state })
	})
}

// worker is the process that serves a region.
func (p *place) worker(region string) int {
	p.Helper()

	out, err := exec.Command("pgrep", "-P", fmt.Sprint(p.up.Process.Pid), "-f", "worker --region "+region).Output()

	var pid int
	if _, serr := fmt.Sscan(string(out), &pid); err != nil || serr != nil {
		p.Fatalf("no worker of %s: %v %s", region, err, out)
	}

	return pid
}

// dies ends all that a region has at one blow: its guard with the watchman, its servers with
// its vault, and its worker, which is stopped so that nobody starts it again.
func (p *place) dies(region string, guard *os.Process) (at time.Time, wake func()) {
	p.Helper()

	l, err := lab.Open(p.dir, sandboxtest.Tools(p.T))
	if err != nil {
		p.Fatal(err)
	}

	worker := p.worker(region)
	at = time.Now()

	if err := syscall.Kill(worker, syscall.SIGSTOP); err != nil {
		p.Fatal(err)
	}

	watchmen, _ := exec.Command("pgrep", "-P", fmt.Sprint(guard.Pid)).Output()
	for _, s := range strings.Fields(string(watchmen)) {
		var pid int
		if _, err := fmt.Sscan(s, &pid); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}

	_ = guard.Kill()

	for _, x := range l.Servers() {
		if x.Region != region {
			continue
		}

		if err := l.Break(p.Context(), "kill", x.Name); err != nil {
			p.Fatal(err)
		}
	}

	return at, func() { _ = syscall.Kill(worker, syscall.SIGCONT) }
}

// firstWrite tries to write in a region until it can, and says when.
func (p *place) firstWrite(region string, within time.Duration) time.Time {
	p.Helper()

	in := p.instance(region)
	end := time.Now().Add(within)

	for time.Now().Before(end) {
		c, err := pgx.Connect(p.Context(), "postgres://drctl:"+in.Password.Reveal()+"@"+in.Address+"/shop?connect_timeout=2")
		if err == nil {
			_, err = c.Exec(p.Context(), "INSERT INTO kept DEFAULT VALUES")
			_ = c.Close(p.Context())
		}

		if err == nil {
			return time.Now()
		}

		time.Sleep(10 * time.Millisecond)
	}

	return time.Time{}
}

// TestFailoverByItself: a region dies with its guard, its servers and its worker. Nobody does
// anything, and the other one takes over; once.
func TestFailoverByItself(t *testing.T) {
	p := newPlace(t)
	p.configure(automatic)
	p.serve()
	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.write("east", 100)

	guard, _ := p.guard("east")
	p.covered("east")

	third := p.third()
	p.held("east", detection.Up, "east", "west", "third")
	p.must("drctl", "cut", "now")

	t.Run("one place is cut off", func(t *testing.T) { p.cutOff(third) })

	p.guard("west")

	died, wake := p.dies("east", guard)
	defer wake()

	wrote := p.firstWrite("west", limit)
	if wrote.IsZero() {
		p.stuck(t)
	}

	var o recovery.Out
	p.until("the run has ended", func() bool {
		out, _, _ := p.run("drctl", "recovery", "show", "--json")
		return json.Unmarshal([]byte(out), &o) == nil && o.Verdict != machine.Open
	})

	if o.Verdict != machine.Reached || o.Cause == nil || o.Cause.Verdict.State != detection.Lost || len(o.Cause.Verdict.Votes) < 2 || len(o.Answers) > 0 || o.Mode != plan.ModeFailover {
		t.Fatalf("%+v", o)
	}

	figures(t, o, died, wrote)
	p.has("west", 101)

	// Once: what is lost now has moved just before.
	p.held("west", detection.Up, "west", "third")

	if st := p.epochs(); st.Present.Holder != "west" {
		t.Errorf("%+v", st.Present)
	}
}

func (p *place) stuck(t *testing.T) {
	t.Helper()

	out, said, _ := p.run("drctl", "detection", "show")
	show, more, _ := p.run("drctl", "recovery", "show")
	t.Fatalf("nothing was ever written in the west:\n%s%s\n%s%s", out, said, show, more)
}

// figures prints how long what took, from the death of the region.
func figures(t *testing.T, o recovery.Out, died, wrote time.Time) {
	t.Helper()

	since := func(at time.Time) string { return human.Duration(at.Sub(died)) }
	t.Logf("lost after %s, decided after %s, begun after %s, first write after %s (lease 5 s)", since(o.Cause.Lost), since(o.Cause.Decided), since(o.Started), since(wrote))

	for _, s := range o.Steps {
		t.Logf("  %-22s from %s to %s", s.ID, since(s.Started), since(s.Finished))
	}
}

// cutOff has one vantage point lose its way to the region: it gets no answer from any server
// there, for longer than a loss takes. Everybody hears that, and nothing happens.
func (p *place) cutOff(third *exec.Cmd) {
	p.Helper()

	before := p.epochs().Present
	_ = third.Process.Signal(syscall.SIGTERM)
	_ = third.Wait()

	b, err := os.ReadFile(filepath.Join(p.dir, "drctl.yaml"))
	if err != nil {
		p.Fatal(err)
	}

	l, err := lab.Open(p.dir, sandboxtest.Tools(p.T))
	if err != nil {
		p.Fatal(err)
	}

	for i, id := range []targets.ShardID{{Target: "orders", Shard: "0"}, {Target: "carts", Shard: "0"}} {
		in, err := l.Instance("east", id)
		if err != nil {
			p.Fatal(err)
		}
		b = bytes.ReplaceAll(b, []byte(in.Address), []byte(fmt.Sprintf("127.0.0.1:%d", i+1)))
	}

	blind := filepath.Join(p.dir, "blind.yaml")
	if err := os.WriteFile(blind, b, 0o600); err != nil {
		p.Fatal(err)
	}
	away := p.third("--config", blind)

	p.until("the third place gets no answer", func() bool {
		v := p.seen()["third"]
		return len(v.Sightings) > 0 && !slices.ContainsFunc(v.Sightings, func(s detection.Sighting) bool { return s.Saw != detection.Dead })
	})
	time.Sleep(8 * time.Second)
	p.held("east", detection.Up, "east", "west")

	if v := p.seen()["third"]; v.State == detection.Lost || !strings.Contains(strings.Join(v.Reasons, " "), "and not third") {
		p.Errorf("%s: %v", v.State, v.Reasons)
	}

	if now := p.epochs().Present; now.Epoch != before.Epoch || now.Holder != "east" {
		p.Errorf("a failover has begun: %+v", now)
	}

	p.standsBy("east", false)
	p.standsBy("west", true)

	_ = away.Process.Signal(syscall.SIGTERM)
	_ = away.Wait()

	p.third()
	p.held("east", detection.Up, "east", "west", "third")
}

// TestOffIsOff: a region dies while a person has switched failovers off. Nothing begins, and
// it does once that is taken back; what has it in hand keeps it from beginning as well. There
// is no third place: the second vote is that the voters hear nothing of the region's guards.
func TestOffIsOff(t *testing.T) {
	p := newPlace(t)
	p.configure(automatic)
	p.serve()
	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.refused(2, "reason", "detection", "off")
	p.refused(2, "none of the vantage points", "detection", "watch", "--at", "nowhere")

	guard, _ := p.guard("east")
	p.covered("east")
	p.held("east", detection.Up, "east", "west")
	p.must("drctl", "cut", "now")

	if text := p.must("drctl", "detection", "off", "--reason", "racks are moved"); !strings.Contains(text, "switched off by") {
		t.Error(text)
	}

	p.must("drctl", "detection", "acknowledge", "--reason", "I look at it", "--for", "1h")

	_, wake := p.dies("east", guard)
	defer wake()

	p.held("east", detection.Lost, "west")

	if v := p.seen()["west"]; !strings.Contains(strings.Join(v.Reasons, " "), "no answer to the voters, west") {
		t.Errorf("%v", v.Reasons)
	}

	time.Sleep(5 * time.Second)

	if st := p.epochs().Present; st.Holder != "east" {
		t.Fatalf("a failover has begun: %+v", st)
	}

	p.standsBy("west", true)
	p.must("drctl", "detection", "on", "--reason", "racks are there")

	if p.firstWrite("west", limit).IsZero() {
		p.stuck(t)
	}
}
