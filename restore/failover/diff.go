package failover

import (
	"encoding/json"
	"maps"
	"slices"

	"drctl/restore/plan"
)

// Difference is one thing in which two plans differ. Was and Is are JSON; one of
// them is empty when a step or a value is in one plan alone.
type Difference struct {
	// Step is empty for what is of the plan as a whole.
	Step string `json:"step,omitempty"`
	// Field is empty when the whole step was added or has gone.
	Field string `json:"field,omitempty"`
	Was   string `json:"was,omitempty"`
	Is    string `json:"is,omitempty"`
}

// Diff says what changed from one plan to another, in the order of the newer one,
// what has gone last. Plans that do not differ have the same hash, and steps in
// another order are a difference ("order").
func Diff(was, is plan.Definition) (out []Difference) {
	a, b := was, is
	a.Steps, b.Steps = nil, nil
	out = append(out, fields("", a, b)...)

	var kept, order []string

	for _, s := range is.Steps {
		old, ok := was.Step(s.ID)
		if !ok {
			out = append(out, Difference{Step: s.ID, Is: text(s)})
			continue
		}
		kept = append(kept, s.ID)
		out = append(out, fields(s.ID, old, s)...)
	}

	for _, s := range was.Steps {
		if _, ok := is.Step(s.ID); !ok {
			out = append(out, Difference{Step: s.ID, Was: text(s)})
			continue
		}
		order = append(order, s.ID)
	}

	if !slices.Equal(kept, order) {
		out = append(out, Difference{Field: "order", Was: text(order), Is: text(kept)})
	}

	return out
}

// fields compares two values by the names of their JSON.
func fields(step string, was, is any) (out []Difference) {
	a, b := parts(was), parts(is)

	names := slices.Sorted(maps.Keys(a))
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}

	slices.Sort(names)

	for _, name := range names {
		if x, y := string(a[name]), string(b[name]); x != y && name != "steps" {
			out = append(out, Difference{Step: step, Field: name, Was: x, Is: y})
		}
	}

	return out
}

func parts(v any) map[string]json.RawMessage {
	var out map[string]json.RawMessage
	if err := json.Unmarshal([]byte(text(v)), &out); err != nil {
		return nil // plain data always comes back
	}

	return out
}

func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // plain data always marshals
	}

	return string(b)
}
