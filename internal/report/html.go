package report

import (
	"bytes"
	_ "embed" // the template and the style sheet
	"html/template"
	"io"
	"maps"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
)

//go:embed page.html.tmpl
var pageSource string

//go:embed page.css
var styleSheet string

var page = template.Must(template.New("page").Funcs(template.FuncMap{
	"text": textCell, "instant": instantCell, "span": spanCell, "size": sizeCell, "number": countCell,
	"stamp": stamp, "clock": clock, "when": when, "dur": human.Duration, "bytes": human.Bytes, "bar": newBar,
	"loss": lossBar, "gaps": stepGaps, "store": storePoint,
}).Parse(pageSource))

type pageData struct {
	R      evidence.Record
	CSS    template.CSS
	Gantt  gantt
	Checks []evidence.Check
	Tally  tally
	RTO    bar
	RPO    bar
}

// HTML writes the page. It is written whole or not at all as far as rendering
// goes; a failed write is an error of code unavailable.
func HTML(w io.Writer, r evidence.Record) error {
	r, err := clean(r)
	if err != nil {
		return err
	}
	var b bytes.Buffer

	err = page.Execute(&b, pageData{R: r, CSS: template.CSS(styleSheet), // our own file, no outside text
		Gantt: newGantt(r), Checks: sortedChecks(r.Checks), Tally: count(r.Checks),
		RTO: newBar("RTO", r.Measured.RTO, r.Objectives.RTO), RPO: newBar("RPO", r.Measured.RPO, r.Objectives.RPO)})
	if err != nil {
		return fail.New(fail.Internal, "report: render", r.ID, "", err)
	}

	if _, err := b.WriteTo(w); err != nil {
		return fail.New(fail.Unavailable, "report: write", r.ID, "", err)
	}

	return nil
}

// lossBar is one store's bar against the common RPO objective.
func lossBar(s evidence.StoreRPO, o evidence.Objectives) bar {
	return newBar(s.Shard, evidence.Known(s.Loss), o.RPO)
}

// storePoint finds a shard's row of the recovery point.
func storePoint(r evidence.Record, shard string) evidence.ShardPoint {
	for _, p := range r.RecoveryPoint.Shards {
		if p.Shard == shard {
			return p
		}
	}

	return evidence.ShardPoint{}
}

// stepGaps are the reasons for the dashes of the step log, each once.
func stepGaps(steps []evidence.Step) []string {
	seen := map[string]bool{}
	for _, s := range steps {
		for _, g := range []string{s.PlannedStart.Reason(), s.Started.Reason(), s.Finished.Reason(), s.InputSHA256.Reason(), s.OutputSHA256.Reason()} {
			if g != "" {
				seen[g] = true
			}
		}
	}

	return slices.Sorted(maps.Keys(seen))
}

// clock writes an instant without its date when that is the drill's.
func clock(t, start time.Time) string {
	if !t.IsZero() && t.UTC().Format(time.DateOnly) == start.UTC().Format(time.DateOnly) {
		return t.UTC().Format("15:04:05.000")
	}

	return stamp(t)
}

// when is clock, or a dash whose reason stands in the caption.
func when(m evidence.Instant, start time.Time) string {
	if t, ok := m.Get(); ok {
		return clock(t, start)
	}

	return "–"
}
