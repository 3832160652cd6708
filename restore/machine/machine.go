package machine

import (
	"fmt"
	"slices"

	"drctl/internal/fail"
	"drctl/restore/plan"
)

// defaultWindow is how many steps run at once when the outline does not say.
const defaultWindow = 4

// Machine interprets one outline. It never changes, so that it may be shared.
type Machine struct {
	steps  []plan.Node
	window int
	index  map[string]int
	// needs are the steps that must have succeeded, by index; waiters are the
	// steps that wait for the end of one, unmet for how many ends one waits.
	needs, waiters [][]int
	unmet          []int
	walk           []int // an order in which the steps could run
	undoes         bool  // some step can be undone
}

// New makes the machine of an outline. It fails with invalid when two steps have
// one id, when a step needs an unknown one, or when steps wait for each other.
func New(o plan.Outline) (*Machine, error) {
	m := &Machine{steps: o.Steps, window: o.Window, index: make(map[string]int, len(o.Steps)),
		needs: make([][]int, len(o.Steps)), waiters: make([][]int, len(o.Steps)), unmet: make([]int, len(o.Steps))}
	if m.window <= 0 {
		m.window = defaultWindow
	}

	for i, s := range o.Steps {
		if _, twice := m.index[s.ID]; twice || s.ID == "" {
			return nil, invalid("two steps are called %q, or one has no name", s.ID)
		}
		m.index[s.ID] = i
		m.undoes = m.undoes || s.Undo
	}

	for i, s := range o.Steps {
		var before []int

		for _, n := range s.Needs {
			met := m.meant(n, i)
			if len(met) == 0 {
				return nil, invalid("step %q needs %q, which is no step", s.ID, n)
			}

			m.needs[i] = append(m.needs[i], met...)
			before = append(before, met...)
		}

		for _, n := range s.After {
			before = append(before, m.meant(n, i)...)
		}

		slices.Sort(before)
		before = slices.Compact(before)

		m.unmet[i] = len(before)
		for _, j := range before {
			m.waiters[j] = append(m.waiters[j], i)
		}
	}

	return m, m.acyclic()
}

func invalid(format string, args ...any) error {
	return fail.New(fail.Invalid, "plan: order", "", "make a new plan", fmt.Errorf(format, args...))
}

// meant are the steps that a need of step i names, but for itself.
func (m *Machine) meant(need string, i int) (out []int) {
	if j, ok := m.index[need]; ok {
		return []int{j}
	}

	for j, s := range m.steps {
		if j != i && plan.Means(need, s.ID) {
			out = append(out, j)
		}
	}

	return out
}

// acyclic walks the steps in an order in which they could run.
func (m *Machine) acyclic() error {
	unmet := slices.Clone(m.unmet)
	walk := make([]int, 0, len(m.steps))

	for i, n := range unmet {
		if n == 0 {
			walk = append(walk, i)
		}
	}

	for k := 0; k < len(walk); k++ {
		for _, j := range m.waiters[walk[k]] {
			if unmet[j]--; unmet[j] == 0 {
				walk = append(walk, j)
			}
		}
	}

	if len(walk) < len(m.steps) {
		for i, n := range unmet {
			if n > 0 {
				return invalid("step %q waits for itself", m.steps[i].ID)
			}
		}
	}

	m.walk = walk

	return nil
}

// ID is the id of a step by its place in the outline and in State.Steps.
func (m *Machine) ID(i int) string { return m.steps[i].ID }
