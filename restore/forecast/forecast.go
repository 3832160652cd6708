package forecast

import (
	"fmt"
	"math"
	"slices"
	"time"

	"drctl/restore/plan"
)

// Sample is how long a step took in a past run or drill.
type Sample struct {
	Step string        `json:"step"`
	Do   plan.Op       `json:"do,omitempty"`
	Took time.Duration `json:"took_ns"`
	// Bytes are what it moved; 0 when its time does not grow with a size.
	Bytes int64 `json:"bytes,omitempty"`
}

// Span is a duration as it is foreseen.
type Span struct {
	P50 time.Duration `json:"p50_ns"`
	P95 time.Duration `json:"p95_ns"`
}

// Forecast says how long a plan will take. The path is the chain of steps that
// decides by its p50; its P95 is the longest chain by the p95 of every step, which
// is more than the p95 of the whole: steps are seldom all slow at once.
type Forecast struct {
	Steps []StepForecast `json:"steps"`
	Path  []string       `json:"path"`
	Total Span           `json:"total"`
	// People is the part of the path in which people are waited for.
	People Span `json:"people"`
	// Unknown are steps of which nothing is known; they count as nothing.
	Unknown []string `json:"unknown,omitempty"`
	// Danger says that an objective is out of reach, or may be missed; it is one of the warnings.
	Danger   string   `json:"danger,omitempty"`
	Warnings []string `json:"warnings,omitempty"`
}

// StepForecast is one step, with the number of past runs that it comes from.
type StepForecast struct {
	Step    string `json:"step"`
	Span    Span   `json:"span"`
	Samples int    `json:"samples"`
}

// Of makes the forecast of a plan in a mode from past runs. A step is judged
// by its own past, or else by that of all steps with its action; where sizes are
// known, per byte. An objective of 0 sets none.
func Of(d plan.Definition, m plan.Mode, past []Sample, sizes map[string]int64, objective time.Duration) Forecast {
	var out Forecast
	o := d.Outline(m)
	spans := make([]Span, len(o.Steps))

	for i, n := range o.Steps {
		if n.Behaviour == plan.Skip {
			continue
		}
		var count int
		spans[i], count = ofStep(n, past, sizes[n.ID])

		if count == 0 {
			out.Unknown = append(out.Unknown, n.ID)
		}
		out.Steps = append(out.Steps, StepForecast{Step: n.ID, Span: spans[i], Samples: count})
	}

	var path []int
	out.Total.P50, path = longestChain(o, func(i int) time.Duration { return spans[i].P50 })
	out.Total.P95, _ = longestChain(o, func(i int) time.Duration { return spans[i].P95 })

	for _, i := range path {
		out.Path = append(out.Path, o.Steps[i].ID)

		if o.Steps[i].Op.Asks() {
			out.People.P50 += spans[i].P50
			out.People.P95 += spans[i].P95
		}
	}

	if out.Danger = danger(out.Total, objective); out.Danger != "" {
		out.Warnings = append(out.Warnings, out.Danger)
	}

	if len(out.Unknown) > 0 {
		out.Warnings = append(out.Warnings, fmt.Sprintf("nothing is known of %d of %d steps: no run or drill has had them", len(out.Unknown), len(out.Steps)))
	}

	return out
}

// danger holds an objective against what is foreseen.
func danger(total Span, objective time.Duration) string {
	switch {
	case objective <= 0:
	case total.P50 > objective:
		return fmt.Sprintf("the objective of %s is out of reach: half of the runs take %s or more", objective, total.P50.Round(time.Millisecond))
	case total.P95 > objective:
		return fmt.Sprintf("the objective of %s may be missed: %s where every step is slow", objective, total.P95.Round(time.Millisecond))
	}

	return ""
}

// ofStep is what a step's past says of it, and from how many runs.
func ofStep(n plan.Node, past []Sample, size int64) (Span, int) {
	for _, same := range []func(Sample) bool{
		func(s Sample) bool { return s.Step == n.ID },
		func(s Sample) bool { return s.Do == n.Op && n.Op != "" },
	} {
		var took []time.Duration

		for _, s := range past {
			switch {
			case !same(s) || s.Took < 0:
			case size > 0 && s.Bytes > 0:
				took = append(took, scaled(s.Took, float64(size)/float64(s.Bytes)))
			default:
				took = append(took, s.Took)
			}
		}

		if len(took) > 0 {
			slices.Sort(took)
			return Span{quantile(took, 50), quantile(took, 95)}, len(took)
		}
	}

	return Span{}, 0
}

func scaled(d time.Duration, by float64) time.Duration {
	return time.Duration(min(float64(d)*by, float64(math.MaxInt64/4)))
}

// quantile is the smallest value that so many percent do not exceed.
func quantile(sorted []time.Duration, percent int) time.Duration {
	return sorted[(len(sorted)*percent+99)/100-1]
}

// longestChain is the chain of steps that takes longest. The outline has no circle,
// or the chain ends at it.
func longestChain(o plan.Outline, took func(int) time.Duration) (time.Duration, []int) {
	total, via, state := make([]time.Duration, len(o.Steps)), make([]int, len(o.Steps)), make([]int, len(o.Steps))

	var visit func(i int)
	visit = func(i int) {
		if state[i] > 0 {
			return
		}
		state[i], via[i] = 1, -1

		for _, need := range o.Steps[i].Needs {
			for j, n := range o.Steps {
				if j == i || !plan.Means(need, n.ID) {
					continue
				}

				if visit(j); state[j] == 2 && (via[i] < 0 || total[j] > total[via[i]]) {
					via[i] = j
				}
			}
		}

		if via[i] >= 0 {
			total[i] = total[via[i]]
		}
		total[i] += took(i)
		state[i] = 2
	}

	last := -1

	for i := range o.Steps {
		if visit(i); last < 0 || total[i] > total[last] {
			last = i
		}
	}

	if last < 0 {
		return 0, nil
	}
	var path []int

	for i := last; i >= 0; i = via[i] {
		path = append(path, i)
	}

	slices.Reverse(path)

	return total[last], path
}
