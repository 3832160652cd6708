package regional_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"drctl/drills"
	"drctl/internal/planting"
	"drctl/internal/proc"
	"drctl/internal/report/evidence"
	"drctl/internal/supervise"
)

// day holds a game day, wants an exit status, and returns its record.
func (p *place) day(code int, name string) evidence.Record {
	p.Helper()

	out, said, got := p.run("drctl", "drill", "run", name, "--yes", "--json")

	var o drills.Outcome
	if err := json.Unmarshal([]byte(out), &o); err != nil || got != code {
		p.Fatalf("%s: exit %d, want %d, %v\n%s\n%s", name, got, code, err, out, said)
	}

	rec, err := evidence.VerifyAs(o.Record, o.ID, o.SHA256)
	if err != nil || rec.GameDay == nil || rec.Verdict.Passed != (code == 0) {
		p.Fatalf("%s: %v\n%s", name, err, o.Record)
	}

	if page, err := os.ReadFile(o.HTML); err != nil || !strings.Contains(string(page), "Evidence of a game day") {
		p.Errorf("%s: its page: %v", name, err)
	}

	return rec
}

// left are the faults that are on record, and not known to be gone.
func (p *place) left() (out []planting.Fault) {
	p.Helper()

	text, said, _ := p.run("drctl", "drill", "leftovers", "--json")
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		p.Fatalf("%v\n%s\n%s", err, text, said)
	}

	return out
}

// frozen counts the stopped processes of the east's PostgreSQL server.
func (p *place) frozen() (n int) {
	for _, r := range proc.In(p.instance("east").DataDir, "postgres") {
		b, _ := os.ReadFile(filepath.Join("/proc", strings.TrimPrefix(r.String(), "pid "), "stat"))
		if _, after, ok := strings.Cut(string(b), ") "); ok && strings.HasPrefix(after, "T") {
			n++
		}
	}

	return n
}

// killAll kills drctl up, its engine and its workers at once, as the loss of power does.
func (p *place) killAll() {
	p.Helper()

	st, err := supervise.ReadState(filepath.Join(p.dir, "state"))
	if err != nil {
		p.Fatal(err)
	}

	_ = p.up.Process.Kill()
	for _, c := range st.Children {
		_ = proc.ID{Pid: c.Pid, Start: c.Start}.Signal(syscall.SIGKILL)
	}
	_ = p.up.Wait()
}

const gameDays = `
  mute:
    group: shop
    game_day: {faults: [{do: mute, on: orders/0@west}], red: {problem: standby-stopped, on: orders/0@west, within: 2m}}
  blind:
    group: shop
    game_day: {faults: [{do: mute, on: orders/0@west}], red: {problem: standby-stopped, on: orders/0@east, within: 3s}, owner: dba, due: 24h}
  quiet:
    group: shop
    game_day: {faults: [{do: exec, on: "region:east", exec: [/bin/true], undo: [/bin/true]}], red: {exec: [/bin/true]}}
  hold:
    group: shop
    game_day: {faults: [{do: stop, on: orders/0@east}], expect: [{problem: key-missing, within: 20m}]}
  short:
    group: shop
    game_day: {faults: [{do: stop, on: orders/0@east, for: 2s}], expect: [{problem: key-missing, within: 20m}]}
  corrupt:
    group: shop
    game_day:
      faults: [{do: exec, on: "region:west", exec: [BIN/drlab, --dir, DIR, fault, corrupt, west], undo: [BIN/drlab, --dir, DIR, fault, corrupt, west, --undo]}]
      red: {verify: west, within: 2m}
  dead:
    group: shop
    game_day:
      run: failover
      fence: [/bin/true]
      faults:
        - {do: kill, on: orders/0@east}
        - {do: exec, on: "region:east", exec: [BIN/drlab, --dir, DIR, fault, kill, east/carts/0], undo: [BIN/drlab, --dir, DIR, fault, kill, east/carts/0, --undo]}
        - {do: exec, at: "step:promote-*", on: "region:west", exec: [/bin/true], undo: [/bin/true]}
      stop: [{problem: two-primaries}]
      expect: [{verdict: reached}, {step: "fence-*"}, {problem: instance-unreachable, on: orders/0@east, within: 2m}, {problem: two-primaries, not: true, within: 1s}]
recovery:
  shop: {stay: [media]}
`

// TestGameDays holds drills on the servers of a lab: red ones that see what was planted, and ones that are blind; kills
// everything in the middle; and fails over from servers that it kills.
func TestGameDays(t *testing.T) {
	p := newPlace(t)
	p.configure(strings.NewReplacer("BIN", p.bin, "DIR", p.dir).Replace(gameDays))
	p.exec("west", "ALTER SYSTEM SET wal_receiver_timeout = '4s'")
	p.exec("west", "SELECT pg_reload_conf()")
	p.serve()
	p.must("drctl", "backup", "now")

	p.red()
	p.killedInADrill()

	// The servers of a region die. They stay down, as the group has moved: that is said, and is no failure.
	rec := p.day(0, "dead")
	if len(rec.Verdict.Warnings) != 1 || !strings.Contains(rec.Verdict.Warnings[0], "it stays down") {
		t.Errorf("%q", rec.Verdict.Warnings)
	}

	g := rec.GameDay
	if g.Outcome != "reached" || len(g.Proofs) != 2 || len(g.Loss) != 2 || len(g.Faults) != 3 || g.Outage.Value == nil {
		t.Errorf("%+v", g)
	}

	if _, ok := rec.Measured.RTO.Get(); !ok {
		t.Errorf("%+v", rec.Measured)
	}

	p.standsBy("west", false)

	// What are not the lab's servers is out of bounds.
	p.outOfBounds()
}

// red holds red drills.
func (p *place) red() {
	p.Helper()

	if rec := p.day(0, "mute"); len(rec.GameDay.Faults) != 1 || rec.GameDay.Faults[0].Removed.Value == nil || rec.GameDay.Red == "" {
		p.Errorf("%+v", rec.GameDay)
	}

	// A check that looks elsewhere does not go off.
	rec := p.day(4, "blind")
	if len(rec.Findings) != 1 || !strings.Contains(rec.Findings[0].Title, "red: goes off") {
		p.Fatalf("%+v", rec.Findings)
	}

	if owner, _ := rec.Findings[0].Owner.Get(); owner != "dba" || rec.Findings[0].Due.Value == nil {
		p.Errorf("%+v", rec.Findings[0])
	}

	// One that is on already shows nothing, and nothing is planted.
	if rec := p.day(4, "quiet"); len(rec.GameDay.Faults) != 0 {
		p.Errorf("%+v", rec.GameDay)
	}

	p.must("drctl", "cut", "now")
	p.day(0, "corrupt")

	if all := p.left(); len(all) != 0 {
		p.Errorf("left over: %+v", all)
	}
}

// killedInADrill kills everything while a server is frozen.
func (p *place) killedInADrill() {
	p.Helper()

	begin := func(name string) {
		c := p.command("drctl", "drill", "run", name, "--yes")
		if err := c.Start(); err != nil {
			p.Fatal(err)
		}

		p.Cleanup(func() {
			_ = c.Process.Kill()
			_ = c.Wait()
		})
		p.until("the server is frozen", func() bool { return p.frozen() > 0 })
	}

	begin("hold")

	if all := p.left(); len(all) != 1 || all[0].Drill != "hold" {
		p.Errorf("on record: %+v", all)
	}

	p.killAll()

	if p.frozen() == 0 {
		p.Fatal("it went on by itself: this shows nothing")
	}

	// No engine answers; this host's own record is enough.
	p.run("drctl", "drill", "abort", "hold")

	if n := p.frozen(); n != 0 {
		p.Fatalf("%d processes are still frozen", n)
	}

	p.serve()
	p.must("drctl", "drill", "abort", "hold")

	begin("short")
	p.killAll()
	time.Sleep(3 * time.Second)

	if p.frozen() == 0 {
		p.Fatal("it went on by itself: this shows nothing")
	}

	// The next worker takes it away as its time is up.
	p.serve()
	p.until("it is taken away", func() bool { return p.frozen() == 0 })
	p.must("drctl", "drill", "abort", "short")

	if all := p.left(); len(all) != 0 {
		p.Errorf("left over: %+v", all)
	}
}

// outOfBounds takes the lab's word away.
func (p *place) outOfBounds() {
	p.Helper()

	config := filepath.Join(p.dir, "drctl.yaml")

	b, err := os.ReadFile(config)
	if err != nil {
		p.Fatal(err)
	}

	with := strings.Replace(string(b), "\nlab: "+p.dir+"\n", "\n", 1)
	if err := os.WriteFile(config, []byte(with), 0o600); err != nil || with == string(b) {
		p.Fatal("the configuration names no lab", err)
	}

	_ = p.up.Process.Signal(syscall.SIGTERM)
	_ = p.up.Wait()
	p.serve()

	rec := p.day(4, "mute")
	if len(rec.GameDay.Faults) != 0 || len(rec.Prechecks) != 4 || !rec.Prechecks[0].Passed || rec.Prechecks[1].Passed || rec.Prechecks[3].Passed {
		p.Errorf("%+v", rec.Prechecks)
	}
}
