package report

import (
	"bytes"
	"cmp"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
)

// clean returns the record with every text made safe for one line: control
// characters and changes of writing direction are replaced, line ends become
// spaces. Names come from configurations and servers, so they may be hostile.
func clean(r evidence.Record) (evidence.Record, error) {
	const op = "report: render"

	b, err := json.Marshal(r)
	if err != nil {
		return r, fail.New(fail.Internal, op, r.ID, "", err)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()

	var v any
	if err := d.Decode(&v); err != nil {
		return r, fail.New(fail.Internal, op, r.ID, "", err)
	}

	if b, err = json.Marshal(cleanValue(v)); err != nil {
		return r, fail.New(fail.Internal, op, r.ID, "", err)
	}

	var out evidence.Record
	if err := json.Unmarshal(b, &out); err != nil {
		return r, fail.New(fail.Internal, op, r.ID, "", err)
	}

	return out, nil
}

func cleanValue(v any) any {
	switch v := v.(type) {
	case string:
		return human.Clean(strings.Join(strings.FieldsFunc(v, func(r rune) bool { return r == '\n' || r == '\r' || r == '\t' }), " "))
	case []any:
		for i := range v {
			v[i] = cleanValue(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = cleanValue(v[k])
		}
	}

	return v
}

// cell is a value or the reason why there is none.
type cell struct{ Value, Gap string }

func textCell(m evidence.Text) cell {
	if v, ok := m.Get(); ok {
		return cell{Value: v}
	}

	return cell{Gap: m.Reason()}
}

func instantCell(m evidence.Instant) cell {
	if v, ok := m.Get(); ok {
		return cell{Value: stamp(v)}
	}

	return cell{Gap: m.Reason()}
}

func spanCell(m evidence.Span) cell {
	if v, ok := m.Get(); ok {
		return cell{Value: human.Duration(v)}
	}

	return cell{Gap: m.Reason()}
}

func sizeCell(m evidence.Number) cell {
	if v, ok := m.Get(); ok {
		return cell{Value: human.Bytes(v)}
	}

	return cell{Gap: m.Reason()}
}

func countCell(m evidence.Number) cell {
	if v, ok := m.Get(); ok {
		return cell{Value: human.Count(v)}
	}

	return cell{Gap: m.Reason()}
}

// stamp writes an instant to the millisecond, UTC.
func stamp(t time.Time) string {
	if t.IsZero() {
		return "-"
	}

	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}

// bar compares a measurement with its objective.
type bar struct {
	Name, Got, Want string
	Gap             string // why there is no measurement
	State           string // "met", "missed", "not measured", "no objective"
	Fill            int    // of 200; the objective stands at Limit
	Limit           int
}

const barWidth = 200

// newBar scales the bar so that the objective stands at three quarters of it;
// what is longer than the bar fills it.
func newBar(name string, got evidence.Span, want time.Duration) bar {
	b := bar{Name: name, Want: "none set", State: "no objective"}
	if want > 0 {
		b.Want = human.Duration(want)
		b.Limit = barWidth * 3 / 4
	}

	d, ok := got.Get()
	if !ok {
		b.Gap = got.Reason()
		if want > 0 {
			b.State = "not measured"
		}

		return b
	}

	b.Got = human.Duration(d)
	if want <= 0 {
		return b
	}

	b.State = "met"
	if d > want {
		b.State = "missed"
	}
	fill := float64(d) / float64(want) * float64(b.Limit)

	b.Fill = int(max(1, min(fill, barWidth)))
	if d == 0 {
		b.Fill = 0
	}

	return b
}

// rank puts what needs a look first.
var rank = map[string]int{"failed": 0, "warned": 1, "skipped": 2, "passed": 3}

func sortedChecks(cs []evidence.Check) []evidence.Check {
	return slices.SortedStableFunc(slices.Values(cs), func(a, b evidence.Check) int { return cmp.Compare(rank[a.Verdict], rank[b.Verdict]) })
}

type tally struct{ Passed, Warned, Failed, Skipped int }

func count(cs []evidence.Check) tally {
	var t tally
	for _, c := range cs {
		switch c.Verdict {
		case "passed":
			t.Passed++
		case "warned":
			t.Warned++
		case "skipped":
			t.Skipped++
		default:
			t.Failed++
		}
	}

	return t
}
