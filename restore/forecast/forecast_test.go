package forecast_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/restore/forecast"
	"drctl/restore/plan"
)

func steps(ids ...string) (d plan.Definition) {
	for _, id := range ids {
		name, needs, _ := strings.Cut(id, "<")
		s := plan.StepDef{ID: name, Do: plan.OpRestore}

		if needs != "" {
			s.Needs = strings.Split(needs, ",")
		}
		d.Steps = append(d.Steps, s)
	}

	return d
}

func TestForecast(t *testing.T) {
	d := steps("a", "b", "c<a,b", "d<c", "new")
	d.Steps[3].Do, d.Steps[4].Do = plan.OpApprove, plan.OpNotify
	var past []forecast.Sample

	for i := range 20 {
		past = append(past, forecast.Sample{Step: "a", Do: plan.OpRestore, Took: time.Duration(i+1) * time.Second, Bytes: 100},
			forecast.Sample{Step: "d", Do: plan.OpApprove, Took: time.Minute})
	}
	got := forecast.Of(d, plan.ModeFailover, past, map[string]int64{"b": 200}, time.Minute)

	// b has no past of its own: it is judged by the restores, and has twice the bytes.
	if s := got.Steps[1]; s.Span.P50 != 20*time.Second || s.Span.P95 != 38*time.Second || s.Samples != 20 {
		t.Errorf("b: %+v", s)
	}

	if !slices.Equal(got.Path, []string{"b", "c", "d"}) || got.Total.P50 != 90*time.Second || got.Total.P95 != 117*time.Second || got.People.P50 != time.Minute {
		t.Errorf("%+v", got)
	}

	if !slices.Equal(got.Unknown, []string{"new"}) || len(got.Warnings) != 2 || !strings.Contains(got.Warnings[0], "out of reach") {
		t.Errorf("%v %v", got.Unknown, got.Warnings)
	}

	if w := forecast.Of(d, plan.ModeFailover, past, nil, 110*time.Second).Warnings; !strings.Contains(w[0], "nothing is known") {
		t.Errorf("within the objective: %v", w)
	}

	d.Steps[2].Modes = map[plan.Mode]plan.Behaviour{plan.ModeDrill: plan.Skip}
	if got := forecast.Of(d, plan.ModeDrill, past, nil, 0); got.Total.P50 != 70*time.Second {
		t.Errorf("a step that is not of the mode counts: %+v", got)
	}
}

// TestPathIsTheLongest against every chain.
func TestPathIsTheLongest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var d plan.Definition
		var past []forecast.Sample
		longest := map[string]time.Duration{}

		for i := range rapid.IntRange(1, 10).Draw(t, "steps") {
			s := plan.StepDef{ID: string(rune('a' + i))}
			took := time.Duration(rapid.IntRange(0, 9).Draw(t, "took")) * time.Second
			past = append(past, forecast.Sample{Step: s.ID, Took: took})
			var most time.Duration

			for _, o := range d.Steps {
				if rapid.Bool().Draw(t, "edge") {
					s.Needs, most = append(s.Needs, o.ID), max(most, longest[o.ID])
				}
			}
			longest[s.ID] = most + took
			d.Steps = append(d.Steps, s)
		}
		var want time.Duration

		for _, l := range longest {
			want = max(want, l)
		}

		if got := forecast.Of(d, "", past, nil, 0); got.Total.P50 != want || got.Total.P95 != want {
			t.Fatalf("%s, not %s: %+v", got.Total.P50, want, d)
		}
	})
}

func TestVerified(t *testing.T) {
	now := time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)
	ago := func(days int) time.Time { return now.AddDate(0, 0, -days) }
	passed := forecast.Rehearsal{ID: "d1", Definition: "h", Passed: true, At: ago(10)}

	for want, all := range map[string][]forecast.Rehearsal{
		"no drill of it":       nil,
		"drill d1 passed":      {passed},
		"d2 failed":            {{ID: "d2", Definition: "h", At: ago(1)}, passed},
		"it was edited":        {{ID: "d3", Definition: "old", Passed: true, At: ago(1)}},
		"too long ago":         {{ID: "d4", Definition: "h", Passed: true, At: ago(99)}},
		"d6 failed":            {{ID: "d6", Definition: "h", At: ago(-1)}, passed},       // so it says, by a clock that is ahead
		"no drill of it has p": {{ID: "d5", Definition: "h", Passed: true, At: ago(-1)}}, // tomorrow
	} {
		v := forecast.Verified("h", all, now, 30*24*time.Hour)
		if !strings.Contains(v.Why, want) || v.Verified != (want == "drill d1 passed") {
			t.Errorf("%s: %+v", want, v)
		}
	}
}
