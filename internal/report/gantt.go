package report

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"drctl/internal/human"
	"drctl/internal/report/evidence"
)

// The time line's measures, in SVG units.
const (
	chartWidth = 1000
	labelWidth = 250
	plotWidth  = chartWidth - labelWidth - 20
	rowHeight  = 28
	headHeight = 44
)

type gantt struct {
	Width, Height, RowHeight int
	PlotX, RowsEnd, AxisY    int
	Ticks                    []tick
	Rows                     []ganttRow
	Marks                    []mark
	Summary                  string
}

type tick struct {
	X     int
	Label string
}

type mark struct {
	X, Y, TextX int
	Label       string
	Class       string
	Anchor      string
}

type ganttRow struct {
	Y, TextY, BarY, BarH int
	Label, Title         string
	Even, Ran, Inside    bool
	X, W                 int
	Class                string // ph-restore, ph-verify ...
	Failed               bool
	Text                 string // beside or in the bar
	TextX                int
	Anchor               string
}

// newGantt lays the steps out on a common axis that begins with the drill.
func newGantt(r evidence.Record) gantt {
	g := gantt{Width: chartWidth, RowHeight: rowHeight, PlotX: labelWidth}

	from, to := r.Started, r.Finished
	for _, s := range r.Steps {
		if t, ok := s.Started.Get(); ok && (from.IsZero() || t.Before(from)) {
			from = t
		}

		if t, ok := s.Finished.Get(); ok && t.After(to) {
			to = t
		}
	}
	// The RTO may count from a disaster before the first step: what is measured
	// ends with the last step before the clean-up, so that is where it begins.
	origin := r.Started
	if d, ok := r.Measured.RTO.Get(); ok {
		var end time.Time
		for _, s := range r.Steps {
			if t, ok := s.Finished.Get(); ok && s.Phase != "clean-up" && t.After(end) {
				end = t
			}
		}

		if o := end.Add(-d); !end.IsZero() && o.Before(origin) {
			origin = o
			from = o
		}
	}
	var marks []mark

	at := func(t time.Time, label, class string) {
		if t.After(to) {
			to = t
		}
		marks = append(marks, mark{Label: label, Class: class, X: int(t.Sub(from))})
	}
	if d, ok := r.Measured.RTO.Get(); ok {
		at(origin.Add(d), "recovered after "+human.Duration(d), "mark-got")
	}
	// An objective far beyond the drill would squeeze everything else.
	span := to.Sub(from)
	if o := r.Objectives.RTO; o > 0 && o <= 2*span {
		at(origin.Add(o), "RTO objective "+human.Duration(o), "mark-want")
	}
	span = max(to.Sub(from), time.Millisecond)

	x := func(d time.Duration) int { return labelWidth + int(float64(plotWidth)*float64(d)/float64(span)) }
	for i, m := range marks {
		m.X = x(time.Duration(m.X))

		m.TextX, m.Anchor = m.X+4, "start"
		if m.X > labelWidth+plotWidth/2 {
			m.TextX, m.Anchor = m.X-4, "end"
		}
		m.Y = 12 + 14*i
		g.Marks = append(g.Marks, m)
	}

	step := niceStep(span)
	for d := time.Duration(0); d <= span; d += step {
		g.Ticks = append(g.Ticks, tick{X: x(d), Label: "+" + human.Duration(d)})
	}

	for i, s := range byStart(r.Steps) {
		g.Rows = append(g.Rows, newRow(s, i, from, x))
	}
	g.RowsEnd = headHeight + rowHeight*len(g.Rows)
	g.AxisY = g.RowsEnd + 16
	g.Height = g.RowsEnd + 26
	g.Summary = fmt.Sprintf("%d steps over %s, beginning %s. The step log below holds the same in a table.", len(r.Steps), human.Duration(span), stamp(from))

	return g
}

func newRow(s evidence.Step, i int, from time.Time, x func(time.Duration) int) ganttRow {
	y := headHeight + i*rowHeight
	row := ganttRow{Even: i%2 == 0, Y: y, TextY: y + 18, BarY: y + 5, BarH: rowHeight - 10, Label: shortLabel(s.ID), Title: s.ID + ": " + s.Outcome, Class: "ph-" + phaseClass(s.Phase)}
	a, ok1 := s.Started.Get()

	b, ok2 := s.Finished.Get()
	if !ok1 || !ok2 || s.Outcome == evidence.StepNotRun {
		row.Text, row.TextX, row.Anchor = "not run", labelWidth+6, "start"
		return row
	}
	row.Ran, row.Failed = true, s.Outcome != evidence.StepDone
	row.X = x(a.Sub(from))
	row.W = max(3, x(b.Sub(from))-row.X)

	row.Text = s.Phase + " " + human.Duration(b.Sub(a))
	if row.Failed {
		row.Text = "✗ failed: " + row.Text
	}

	if s.Attempts > 1 {
		row.Text += fmt.Sprintf(" (%d attempts)", s.Attempts)
	}

	need := 8 * len([]rune(row.Text))
	switch {
	case row.X+row.W+6+need <= chartWidth:
		row.TextX, row.Anchor = row.X+row.W+6, "start"
	case row.X-6-need >= labelWidth:
		row.TextX, row.Anchor = row.X-6, "end"
	default: // a long bar: the text goes into it
		row.TextX, row.Anchor = row.X+6, "start"
		row.Inside = true
	}

	return row
}

// byStart sorts steps by when they began; those that never ran come last.
func byStart(steps []evidence.Step) []evidence.Step {
	return slices.SortedStableFunc(slices.Values(steps), func(a, b evidence.Step) int {
		x, ok1 := a.Started.Get()

		y, ok2 := b.Started.Get()
		switch {
		case !ok1 && !ok2:
			return 0
		case !ok1:
			return 1
		case !ok2:
			return -1
		}

		return cmp.Or(x.Compare(y), cmp.Compare(a.ID, b.ID))
	})
}

func shortLabel(s string) string {
	if r := []rune(s); len(r) > 32 {
		return string(r[:31]) + "…"
	}

	return s
}

// phaseClass maps a phase to one of the classes of the style sheet.
func phaseClass(p string) string {
	switch p {
	case "detect", "decide", "prepare", "restore", "verify", "cut-over", "clean-up":
		return p
	}

	return "other"
}

var niceSteps = []time.Duration{time.Millisecond, 2 * time.Millisecond, 5 * time.Millisecond, 10 * time.Millisecond, 20 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond, time.Second, 2 * time.Second, 5 * time.Second,
	10 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute,
	30 * time.Minute, time.Hour, 2 * time.Hour, 3 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour}

// niceStep is the smallest round interval that gives eight ticks at most.
func niceStep(span time.Duration) time.Duration {
	for _, s := range niceSteps {
		if span/s <= 8 {
			return s
		}
	}

	return span / 8
}
