package regional_test

import (
	"context"
	"encoding/json"
	"path/filepath"
	"slices"
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
      expect: [{problem: key-missing, within: 20m}]
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

// clock has the clocks of the primaries step, forwards and back, and takes a cut each time: it has to be exact, or refused.
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
	} {
		for _, server := range []string{"east/orders/0", "east/carts/0"} {
			p.must("drlab", append([]string{"fault", "clock", server, "--dir", p.dir}, x.by...)...)
		}

		if got := off(); got < x.min || got > x.max {
			p.Errorf("%s: the server's clock is off by %s", x.by, got)
		}

		p.exact(strings.Join(x.by, " "))
	}
}

// written is a write as its client saw it, by the host's clock, with the end of the log before and after it.
type written struct {
	begun, acked  time.Time
	before, after uint64
}

// writes lets a client write until it is told to end, and returns what it wrote.
func (p *place) writes() (end func() []written) {
	p.Helper()

	c := p.connect("east")
	ctx, stop := context.WithCancel(p.Context())

	var all []written

	done := make(chan error, 1)

	go func() {
		for ctx.Err() == nil {
			var x written

			const at = "SELECT (pg_current_wal_insert_lsn() - '0/0')::bigint"
			err := c.QueryRow(p.Context(), at).Scan(&x.before)
			x.begun = time.Now()

			if err == nil {
				_, err = c.Exec(p.Context(), "INSERT INTO kept DEFAULT VALUES")
				x.acked = time.Now()
			}

			if err == nil {
				err = c.QueryRow(p.Context(), at).Scan(&x.after)
			}

			if err != nil {
				done <- err
				return
			}
			all = append(all, x)

			time.Sleep(20 * time.Millisecond)
		}

		done <- nil
	}()

	return func() []written {
		stop()

		if err := <-done; err != nil {
			p.Fatal(err)
		}

		_ = c.Close(p.Context())

		return all
	}
}

// exact takes a cut under writes. When it is not refused, it holds what was acknowledged before its instant and nothing that
// was begun after it, by the host's clock, and the logs prove it anew.
func (p *place) exact(when string) {
	p.Helper()

	end := p.writes()
	out, said, code := p.run("drctl", "cut", "now", "--json")
	all := end()

	if code != 0 {
		p.Logf("%s: a cut is refused: %s", when, said)
		return
	}

	var cut targets.Cut
	if err := json.Unmarshal([]byte(out), &cut); err != nil || cut.ID == "" {
		p.Fatalf("%v\n%s", err, out)
	}

	i := slices.IndexFunc(cut.Shards, func(s targets.ShardPoint) bool { return s.Shard == orders })
	if i < 0 {
		p.Fatalf("%s: the cut lacks %s: %s", when, orders, out)
	}
	at, inside, outside := cut.Shards[i].Position.Offset, 0, 0

	for _, x := range all {
		switch {
		case x.acked.Before(cut.QuiescedAt):
			if inside++; at <= x.before {
				p.Errorf("%s: the cut of %s ends at %d and lacks what was acknowledged at %s, behind %d", when, cut.QuiescedAt, at, x.acked, x.before)
			}
		case x.begun.After(cut.ReleasedAt):
			if outside++; at >= x.after {
				p.Errorf("%s: the cut of %s ends at %d and has what was begun at %s, before %d", when, cut.ReleasedAt, at, x.begun, x.after)
			}
		}
	}

	if len(all) == 0 || inside+outside == 0 {
		p.Errorf("%s: nothing was written around the cut: this shows nothing", when)
	}

	p.must("drctl", "cut", "prove", cut.ID)
	p.Logf("%s: exact: %d writes before it, %d after it", when, inside, outside)
}
