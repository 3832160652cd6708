package regional_test

import (
	"encoding/json"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/lab/clocks"
	over "drctl/internal/lab/lines"
	"drctl/targets"
)

const linkDays = `
  parted:
    group: shop
    game_day:
      faults: [{do: exec, on: "region:west", exec: [BIN/drlab, --dir, DIR, fault, cut, west/east, --way, in], undo: [BIN/drlab, --dir, DIR, fault, cut, west/east, --undo]}]
      red: {problem: standby-stopped, on: orders/0@west, within: 4m}
  isolated:
    group: shop
    game_day:
      faults: [{do: exec, on: "region:west", exec: [BIN/drlab, --dir, DIR, fault, cut, west], undo: [BIN/drlab, --dir, DIR, fault, cut, west, --undo]}]
      expect: [{problem: instance-unreachable, on: orders/0@west, within: 4m}]
  held:
    group: shop
    game_day:
      faults: [{do: exec, on: "region:west", exec: [BIN/drlab, --dir, DIR, fault, cut, west], undo: [BIN/drlab, --dir, DIR, fault, cut, west, --undo]}]
      expect: [{problem: never, within: 20m}]
`

// TestLinks holds game days on the lines between the regions of a lab: what sees it goes off, nothing comes over a line that
// is cut, and everything is taken away, also when the drill is aborted. Then clocks step under cuts.
func TestLinks(t *testing.T) {
	flags := []string{"--lines"}

	_, without := clocks.Environment(filepath.Join(t.TempDir(), "clock"))
	if without == nil {
		flags = append(flags, "--clocks")
	} else if !fail.Is(without, fail.NotFound) {
		t.Fatal(without)
	}

	p := newPlace(t, flags...)
	p.configure(strings.NewReplacer("BIN", p.bin, "DIR", p.dir).Replace(linkDays))
	p.exec("west", "ALTER SYSTEM SET wal_receiver_timeout = '4s'")
	p.exec("west", "SELECT pg_reload_conf()")
	p.serve()
	p.must("drctl", "backup", "now")
	p.exec("east", "CREATE TABLE kept ()")
	p.catchesUp(0)

	for _, name := range []string{"parted", "isolated"} {
		begin := time.Now()

		if rec := p.day(0, name); len(rec.GameDay.Faults) != 1 || rec.GameDay.Faults[0].Removed.Value == nil {
			p.Errorf("%+v", rec.GameDay)
		}

		p.mended()
		t.Logf("%s: %s", name, time.Since(begin).Round(100*time.Millisecond))
	}

	p.aborted()

	if without != nil {
		t.Skip(without)
	}

	p.clock()
}

// catchesUp waits until the west has as many rows.
func (p *place) catchesUp(n int) {
	p.Helper()
	p.until("the west catches up", func() bool {
		return p.sql("west", "SELECT (to_regclass('kept') IS NOT NULL)::text") == "true" && p.sql("west", "SELECT (count(*) = "+strconv.Itoa(n)+")::text FROM kept") == "true"
	})
}

// faults are those of the lines.
func (p *place) faults() []over.Fault {
	p.Helper()

	all, err := over.List(p.open().LineDir())
	if err != nil {
		p.Fatal(err)
	}

	return all
}

// mended wants that nothing is left over.
func (p *place) mended() {
	p.Helper()

	if all := p.faults(); len(all) != 0 {
		p.Errorf("lines: %+v", all)
	}

	if all := p.left(); len(all) != 0 {
		p.Errorf("left over: %+v", all)
	}
}

// aborted aborts a drill while the west is cut off.
func (p *place) aborted() {
	p.Helper()
	p.catchesUp(0)

	c := p.command("drctl", "drill", "run", "held", "--yes")
	if err := c.Start(); err != nil {
		p.Fatal(err)
	}

	p.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	p.until("the west is cut off", func() bool { return len(p.faults()) == 1 })

	// The fault is on record a moment before the lines carry it out: who is told that it is planted has waited for that.
	p.must("drlab", "fault", "cut", "west", "--dir", p.dir)
	p.write("east", 100)
	time.Sleep(time.Second)
	p.has("west", 0)

	if text := p.must("drlab", "status", "--dir", p.dir); !strings.Contains(text, "cut") {
		p.Errorf("drlab status does not say what is cut:\n%s", text)
	}

	p.must("drctl", "drill", "abort", "held")
	p.mended()
	p.catchesUp(100)
}

// clock has the clock of a primary step, forwards and back, and takes a cut each time: it has to be exact, or refused.
func (p *place) clock() {
	p.Helper()

	off := func() time.Duration {
		var at time.Time

		c := p.connect("east")
		defer c.Close(p.Context())

		if err := c.QueryRow(p.Context(), "SELECT clock_timestamp()").Scan(&at); err != nil {
			p.Fatal(err)
		}

		return time.Until(at)
	}

	for _, x := range []struct {
		by       []string
		min, max time.Duration
	}{
		{[]string{"--by", "90s"}, 30 * time.Second, 90 * time.Second},
		{[]string{"--undo"}, -time.Minute, 0},
		{[]string{"--by", "-90s"}, -5 * time.Minute, -90 * time.Second},
		{[]string{"--undo"}, -time.Minute, 0},
	} {
		for _, server := range []string{"east/orders/0", "east/carts/0"} {
			p.must("drlab", append([]string{"fault", "clock", server, "--dir", p.dir}, x.by...)...)
		}

		if got := off(); got < x.min || got > x.max {
			p.Errorf("%s: the server's clock is off by %s", x.by, got)
		}

		p.write("east", 10)
		p.proven(strings.Join(x.by, " "))
	}

	p.must("drlab", "down", "--dir", p.dir)
}

// proven takes a cut and has it proven by the logs.
func (p *place) proven(when string) {
	p.Helper()

	out, said, code := p.run("drctl", "cut", "now", "--json")
	if code != 0 {
		p.Logf("%s: a cut is refused: %s", when, said)
		return
	}

	var cut targets.Cut
	if err := json.Unmarshal([]byte(out), &cut); err != nil || cut.ID == "" {
		p.Fatalf("%v\n%s", err, out)
	}

	p.Logf("%s: %s", when, p.must("drctl", "cut", "prove", cut.ID))
}
