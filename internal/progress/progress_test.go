package progress

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestEstimatorSteady(t *testing.T) {
	var e Estimator
	if _, ok := e.Rate(t0); ok {
		t.Error("a rate without samples")
	}

	for i := range 61 {
		e.Observe(t0.Add(time.Duration(i)*time.Second), int64(i)*1000)
	}

	now := t0.Add(60 * time.Second)
	if r, ok := e.Rate(now); !ok || math.Abs(r-1000) > 1 {
		t.Errorf("rate %v", r)
	}

	if left, ok := e.ETA(now, 90_000); !ok || left.Round(time.Second) != 30*time.Second {
		t.Errorf("time left %v %v", left, ok)
	}

	if left, ok := e.ETA(now, 60_000); !ok || left != 0 {
		t.Errorf("time left of finished work %v %v", left, ok)
	}

	if _, ok := e.ETA(now, 0); ok {
		t.Error("a time left without a total")
	}
}

func TestEstimatorFollowsAChangeAndAStall(t *testing.T) {
	var e Estimator
	for i := range 30 {
		e.Observe(t0.Add(time.Duration(i)*time.Second), int64(i)*1000)
	}

	for i := range 30 { // ten times slower
		e.Observe(t0.Add(time.Duration(30+i)*time.Second), 29_000+int64(i)*100)
	}

	now := t0.Add(59 * time.Second)
	if r, _ := e.Rate(now); r < 90 || r > 150 {
		t.Errorf("after half a minute at 100/s the rate is %v", r)
	}

	later := now.Add(29 * time.Second)
	if r, _ := e.Rate(later); r > 10 {
		t.Errorf("after 29 silent seconds the rate is still %v", r)
	}

	if e.Stalled(later) || !e.Stalled(now.Add(30*time.Second)) {
		t.Error("the stall is told too early or too late")
	}

	if _, ok := e.ETA(now.Add(time.Minute), 1<<20); ok {
		t.Error("a stalled row has a time left")
	}
	// A retry that starts over must not give a negative rate.
	e.Observe(now.Add(time.Minute), 10)

	if _, ok := e.Rate(now.Add(time.Minute)); ok {
		t.Error("work that went backwards kept its rate")
	}
}

func TestEstimatorDoesNotDependOnHowOftenItIsFed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var e Estimator
		speed := rapid.Int64Range(1, 1<<30).Draw(t, "speed")

		at := time.Duration(0)
		for range rapid.IntRange(2, 200).Draw(t, "n") {
			e.Observe(t0.Add(at), int64(at.Seconds()*float64(speed)))
			at += time.Duration(rapid.Int64Range(1e6, 3e9).Draw(t, "dt"))
		}

		if r, ok := e.Rate(e.last); !ok || math.IsNaN(r) || r < 0 || math.Abs(r-float64(speed)) > 0.02*float64(speed)+1001 {
			t.Fatalf("steady %d/s is estimated as %v", speed, r)
		}
	})
}

type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time { c.mu.Lock(); defer c.mu.Unlock(); return c.now }
func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func run(o Options) (*bytes.Buffer, *Display, *clock) {
	var b bytes.Buffer
	c := &clock{now: t0}
	o.Now, o.Every = c.Now, time.Hour // the test draws

	return &b, New(&b, o), c
}

func TestPlainLines(t *testing.T) {
	b, d, c := run(Options{})
	d.Set(Row{Name: "orders/0", Phase: "base", Done: 0, Total: 4 << 30})
	d.Set(Row{Name: "orders/1", State: Waiting})
	d.draw()
	c.add(5 * time.Second)
	d.Reporter("orders/0", Octets)("base", 1<<30, 4<<30)
	d.draw()
	d.draw() // nothing new: no line
	c.add(40 * time.Second)
	d.draw() // a stall is said once
	d.draw()
	d.Finish("orders/0", nil)
	d.Finish("orders/1", errors.New("disk\x1b[31m full"))
	d.Close()

	want := `running: orders/0: base: 0 B of 4 GiB (0%)
waiting: orders/1
running: orders/0: base: 1 GiB of 4 GiB (25%), 205 MiB/s, 15 s left
running: orders/0: base: 1 GiB of 4 GiB (25%), no progress for 40 s
done: orders/0: base: 1 GiB of 4 GiB (25%), in 45 s
failed: orders/1: in 45 s, disk·[31m full
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b, want)
	}
}

func TestTerminalRedraw(t *testing.T) {
	b, d, c := run(Options{TTY: true, NoColor: true, Width: 80})
	d.Set(Row{Name: "orders/0", Phase: "base", Done: 1, Total: 10, Unit: Items})
	d.Set(Row{Name: strings.Repeat("very-long-name", 5), Phase: "verify"})
	d.draw()
	c.add(time.Second)
	d.Set(Row{Name: "orders/0", Phase: "base", Done: 5, Total: 10, Unit: Items})
	b.Reset()
	d.draw()

	out := b.String()
	if !strings.HasPrefix(out, "\x1b[2A\r\x1b[J") {
		t.Errorf("the two old lines are not overwritten: %q", out)
	}

	if strings.Contains(out[len("\x1b[2A\r\x1b[J"):], "\x1b") {
		t.Errorf("NoColor still colours: %q", out)
	}

	for l := range strings.Lines(out[len("\x1b[2A\r\x1b[J"):]) {
		if width(strings.TrimSuffix(l, "\n")) > 79 {
			t.Errorf("a line of %d cells would wrap: %q", width(l), l)
		}
	}

	if !strings.Contains(out, "5 of 10 (50%), 4/s, 1 s left") {
		t.Errorf("%q", out)
	}

	d.Finish("orders/0", nil)
	b.Reset()
	d.Close()
	d.Close()

	if !strings.Contains(b.String(), "✓ done") {
		t.Errorf("%q", b)
	}
}

func TestColourSaysNothingThatWordsDoNot(t *testing.T) {
	render := func(noColor bool) string {
		b, d, _ := run(Options{TTY: true, NoColor: noColor, Width: 100})
		d.Set(Row{Name: "a", State: Done})
		d.Set(Row{Name: "b", State: Failed, Detail: "why"})
		d.Set(Row{Name: "c", State: Waiting})
		d.Close()

		return b.String()
	}

	colour, plain := render(false), render(true)
	if !strings.Contains(colour, "\x1b[3") {
		t.Error("no colour at all")
	}

	if got := regexp.MustCompile(`\x1b\[[0-9;]*m`).ReplaceAllString(colour, ""); got != plain {
		t.Errorf("%q differs from %q", got, plain)
	}
}

func TestJSONModeDrawsNothing(t *testing.T) {
	b, d, _ := run(Options{JSON: true, TTY: true})
	d.Set(Row{Name: "orders/0"})
	d.Finish("orders/0", nil)
	d.Close()

	if b.Len() != 0 {
		t.Errorf("%q", b)
	}
}

func TestDisplayIsSafeForConcurrentUse(t *testing.T) {
	var b bytes.Buffer
	d := New(&b, Options{TTY: true, Every: time.Millisecond, Width: 80})

	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			p := d.Reporter(fmt.Sprint(i), Octets)
			for n := range int64(500) {
				p("base", n, 500)
			}

			d.Finish(fmt.Sprint(i), nil)
		})
	}

	wg.Wait()
	d.Close()

	if n := strings.Count(b.String()[strings.LastIndex(b.String(), "\x1b[J")+1:], "done"); n != 8 {
		t.Errorf("%d rows in the last drawing", n)
	}
}

func TestTable(t *testing.T) {
	var b bytes.Buffer

	err := Table(&b, []string{"SHARD", "SIZE", "AT", "STATE"}, [][]string{
		{"orders/0", "1.5 GiB", "2026-01-02 03:04", "done"}, {"orders/10", "900 KiB", "2026-01-02 03:04"}, {"evil\n\x1b[31m", "-", "-", "failed", "surplus"}})
	if err != nil {
		t.Fatal(err)
	}

	want := `SHARD          SIZE  AT                STATE
orders/0    1.5 GiB  2026-01-02 03:04  done
orders/10   900 KiB  2026-01-02 03:04
evil··[31m        -  -                 failed
`
	if b.String() != want {
		t.Errorf("got\n%s\nwant\n%s", b.String(), want)
	}

	b.Reset()

	if err := (Style{}).Table(&b, []string{"A"}, nil); err != nil || b.String() != "\x1b[1mA\x1b[0m\n" {
		t.Errorf("%q %v", b.String(), err)
	}
}
