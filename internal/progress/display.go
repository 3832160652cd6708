package progress

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"drctl/internal/human"
	"drctl/targets"
)

// Unit is what a row counts.
type Unit int

// The units.
const (
	Octets Unit = iota // bytes
	Items              // rows, objects, keys, steps
)

// State is where a row stands.
type State string

// The states.
const (
	Waiting State = "waiting"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Row is one shard's progress. Name identifies it.
type Row struct {
	Name        string
	Phase       string
	Done, Total int64 // Total 0 is unknown
	Unit        Unit
	State       State // "" is Running
	Detail      string
}

// Options say what the writer is.
type Options struct {
	TTY     bool // redraw in place
	NoColor bool // no escape sequences for colour
	JSON    bool // write nothing but the result
	// Every is the time between draws; 0 is 200 ms on a terminal and 5 s elsewhere.
	Every time.Duration
	// Width is the number of columns; 0 asks the terminal, or is 100.
	Width int
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

type row struct {
	Row
	est     Estimator
	printed Row  // what the last plain line said
	stalled bool // and whether it said that nothing moves
	began   time.Time
	ended   time.Time
}

// Display shows rows while work goes on. It is safe for concurrent use. The
// caller must Close it, also after a failure, before writing to the same writer.
type Display struct {
	w   io.Writer
	opt Options

	mu    sync.Mutex
	rows  []*row
	byID  map[string]*row
	lines int // drawn on the terminal and to be overwritten
	stop  chan struct{}
	gone  sync.WaitGroup
	once  sync.Once
}

// New starts a display on w. Nothing is drawn until the first row is set.
func New(w io.Writer, o Options) *Display {
	if o.Every <= 0 {
		o.Every = 5 * time.Second
		if o.TTY {
			o.Every = 200 * time.Millisecond
		}
	}

	if o.Now == nil {
		o.Now = time.Now
	}

	d := &Display{w: w, opt: o, byID: map[string]*row{}, stop: make(chan struct{})}
	if !o.JSON {
		d.gone.Go(d.loop)
	}

	return d
}

func (d *Display) loop() {
	t := time.NewTicker(d.opt.Every)
	defer t.Stop()

	for {
		select {
		case <-d.stop:
			return
		case <-t.C:
			d.draw()
		}
	}
}

// Set adds or replaces the row of that name. A change of phase starts its
// rate again. It never writes by itself, so it is cheap.
func (d *Display) Set(r Row) {
	if r.State == "" {
		r.State = Running
	}
	now := d.opt.Now()

	d.mu.Lock()
	defer d.mu.Unlock()

	have := d.byID[r.Name]
	if have == nil {
		have = &row{began: now}
		d.byID[r.Name] = have
		d.rows = append(d.rows, have)
	}

	if r.Phase != have.Phase || r.Unit != have.Unit {
		have.est = Estimator{}
	}
	have.Row = r
	have.est.Observe(now, r.Done)

	if r.State == Done || r.State == Failed {
		have.ended = now
	} else {
		have.ended = time.Time{}
	}
}

// Reporter returns a callback for drivers that feeds the named row.
func (d *Display) Reporter(name string, unit Unit) targets.Progress {
	return func(phase string, done, total int64) {
		d.Set(Row{Name: name, Phase: phase, Done: done, Total: total, Unit: unit})
	}
}

// Finish ends a row: done, or failed when err is not nil.
func (d *Display) Finish(name string, err error) {
	d.mu.Lock()

	r := Row{Name: name}
	if have := d.byID[name]; have != nil {
		r = have.Row
	}

	d.mu.Unlock()

	r.State, r.Detail = Done, ""
	if err != nil {
		r.State, r.Detail = Failed, err.Error()
	}

	d.Set(r)
}

// Close draws a last time and stops. It may be repeated.
func (d *Display) Close() {
	d.once.Do(func() {
		close(d.stop)
		d.gone.Wait()

		if !d.opt.JSON {
			d.draw()
		}

		d.mu.Lock()
		d.lines = 0
		d.mu.Unlock()
	})
}

func (d *Display) draw() {
	d.mu.Lock()
	defer d.mu.Unlock()

	now := d.opt.Now()
	if d.opt.TTY {
		d.redraw(now)
		return
	}

	var b strings.Builder
	for _, r := range d.rows {
		stalled := r.State == Running && r.est.Stalled(now)
		if r.Row == r.printed && (!stalled || r.stalled) {
			continue // nothing to say; a stall is said once
		}
		r.printed, r.stalled = r.Row, stalled
		b.WriteString(plain(r, now) + "\n")
	}

	d.write(b.String())
}

func (d *Display) redraw(now time.Time) {
	if len(d.rows) == 0 {
		return
	}
	w := d.columns()
	var b strings.Builder
	b.WriteString(d.erase())

	names, phases := 0, 0
	for _, r := range d.rows {
		names, phases = max(names, width(human.Clean(r.Name))), max(phases, width(human.Clean(r.Phase)))
	}

	for _, r := range d.rows {
		b.WriteString(d.line(r, now, min(names, 30), min(phases, 20), w) + "\n")
	}
	d.lines = len(d.rows)
	d.write(b.String())
}

// erase moves to the first drawn line and clears to the end of the screen.
func (d *Display) erase() string {
	if !d.opt.TTY || d.lines == 0 {
		return ""
	}
	n := d.lines
	d.lines = 0

	return fmt.Sprintf("\x1b[%dA\r\x1b[J", n)
}

func (d *Display) columns() int {
	if d.opt.Width > 0 {
		return d.opt.Width
	}

	return cmp.Or(terminalWidth(d.w), 100)
}

// terminalWidth is how many columns a terminal has, and 0 for anything else.
func terminalWidth(w io.Writer) int {
	if f, ok := w.(*os.File); ok {
		if n, _, err := term.GetSize(int(f.Fd())); err == nil {
			return max(0, n)
		}
	}

	return 0
}

// write ignores errors: progress that cannot be shown must not stop the work.
func (d *Display) write(s string) {
	if s != "" {
		_, _ = io.WriteString(d.w, s)
	}
}

var marks = map[State]string{Waiting: "·", Running: "→", Done: "✓", Failed: "✗"}

func (d *Display) line(r *row, now time.Time, names, phases, cols int) string {
	text := fmt.Sprintf("%s %-7s %s  %s  %s", marks[r.State], r.State,
		pad(human.Clean(r.Name), names), pad(human.Clean(r.Phase), phases), numbers(r, now))
	text = shorten(strings.TrimRight(text, " "), cols-1)

	st := Style{NoColor: d.opt.NoColor}
	switch r.State {
	case Done:
		return st.Good(text)
	case Failed:
		return st.Bad(text)
	case Waiting:
		return st.Dim(text)
	}

	return text
}

func plain(r *row, now time.Time) string {
	s := string(r.State) + ": " + human.Clean(r.Name)
	if r.Phase != "" {
		s += ": " + human.Clean(r.Phase)
	}

	if n := numbers(r, now); n != "" {
		s += ": " + n
	}

	return s
}

func pad(s string, n int) string {
	s = shorten(s, n)
	return s + strings.Repeat(" ", n-width(s))
}

// numbers renders "1.2 GiB of 4 GiB (30%), 120 MiB/s, 24 s left".
func numbers(r *row, now time.Time) string {
	var parts []string
	switch {
	case r.Total > 0:
		pct := 100 * float64(r.Done) / float64(r.Total)
		parts = append(parts, fmt.Sprintf("%s of %s (%d%%)", amount(r.Done, r.Unit), amount(r.Total, r.Unit), int(max(0, min(pct, 100)))))
	case r.Done > 0:
		parts = append(parts, amount(r.Done, r.Unit))
	}

	switch {
	case r.State == Running:
		if r.est.Stalled(now) {
			parts = append(parts, "no progress for "+human.Duration(now.Sub(r.est.moved).Truncate(time.Second)))
			break
		}

		if v, ok := r.est.Rate(now); ok {
			parts = append(parts, rate(v, r.Unit))
		}

		if left, ok := r.est.ETA(now, r.Total); ok {
			parts = append(parts, human.Duration(left.Round(time.Second))+" left")
		}
	case !r.ended.IsZero():
		parts = append(parts, "in "+human.Duration(r.ended.Sub(r.began)))
	}

	if r.Detail != "" {
		parts = append(parts, human.Clean(r.Detail))
	}

	return strings.Join(parts, ", ")
}

func amount(n int64, unit Unit) string {
	if unit == Items {
		return human.Count(n)
	}

	return human.Bytes(n)
}

func rate(perSecond float64, unit Unit) string {
	if unit == Items {
		return human.CountRate(perSecond)
	}

	return human.ByteRate(perSecond)
}
