package machine

import (
	"fmt"
	"slices"

	"drctl/internal/fail"
	"drctl/restore/plan"
)

// defaultWindow is how many steps run at once when the outline does not say.
const defaultWindow = 4

// Status is how far a step has come.
type Status string

// The statuses of a step.
const (
	Waiting Status = ""        // for what it needs, or for its turn
	Running Status = "running" // it was told to begin and has not ended
	Done    Status = "done"
	Failed  Status = "failed"
	Skipped Status = "skipped" // it never began
)

// State is how far a run has come. It is plain data: a state that was stored
// goes on as the one in memory would have. The zero value is before Begin.
type State struct {
	// Steps are in the order of the outline.
	Steps []StepState `json:"steps"`
	// Ready are the steps that wait for their turn alone, by index, in the order
	// of the outline.
	Ready     []int `json:"ready,omitempty"`
	Running   int   `json:"running,omitempty"`
	Open      int   `json:"open"` // steps that have not ended
	Cancelled bool  `json:"cancelled,omitempty"`
}

// StepState is how far one step has come.
type StepState struct {
	Status Status `json:"status,omitempty"`
	// Unmet counts the steps that have to end before this one may begin.
	Unmet int `json:"unmet,omitempty"`
}

// Event is what happened: Begin, Ended or Cancelled.
type Event interface{ event() }

// Begin starts the run.
type Begin struct{}

// Ended says that a step that was told to begin has ended. One that found
// something wrong in what it checked has not failed.
type Ended struct {
	Step   string
	Failed bool
}

// Cancelled says that nothing more is to begin. It may come instead of Begin.
type Cancelled struct{}

func (Begin) event()     {}
func (Ended) event()     {}
func (Cancelled) event() {}

// Command is what is to be done now: Do, Skip or Finish.
type Command interface{ command() }

// Do begins a step. Its end is to be told with Ended.
type Do struct{ Step plan.Node }

// Skip says that a step will not run, and why.
type Skip struct{ Step, Why string }

// Finish says that every step has ended. It is the last command of a run.
type Finish struct{}

func (Do) command()     {}
func (Skip) command()   {}
func (Finish) command() {}

// Machine interprets one outline. It never changes, so that it may be shared.
type Machine struct {
	steps  []plan.Node
	window int
	index  map[string]int
	// needs are the steps that must have succeeded, by index; waiters are the
	// steps that wait for the end of one, unmet for how many ends one waits.
	needs, waiters [][]int
	unmet          []int
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

	var walk []int
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

	return nil
}

// Next returns the state after an event, and what is to be done now, in the
// order of the outline. It does not change the state that it is given. An event
// that cannot be, such as the end of a step that does not run, changes nothing.
func (m *Machine) Next(s State, e Event) (State, []Command) {
	t := turn{Machine: m, s: State{Steps: slices.Clone(s.Steps), Ready: slices.Clone(s.Ready), Running: s.Running, Open: s.Open, Cancelled: s.Cancelled}}

	switch e := e.(type) {
	case Begin:
		if s.Steps != nil {
			return s, nil
		}

		t.begin()
	case Ended:
		i, ok := m.index[e.Step]
		if !ok || s.Steps == nil || s.Steps[i].Status != Running {
			return s, nil
		}

		t.s.Running--

		status := Done
		if e.Failed {
			status = Failed
		}

		t.end(i, status)
	case Cancelled:
		if s.Cancelled || s.Steps != nil && s.Open == 0 {
			return s, nil
		}

		if s.Steps == nil {
			t.begin()
		}

		t.cancel()
	}

	t.start()

	if t.s.Open == 0 {
		t.out = append(t.out, Finish{})
	}

	return t.s, t.out
}

// turn is one call of Next.
type turn struct {
	*Machine
	s   State
	out []Command
}

func (t *turn) begin() {
	t.s.Steps, t.s.Open = make([]StepState, len(t.steps)), len(t.steps)

	for i, n := range t.unmet {
		t.s.Steps[i].Unmet = n
		if n == 0 {
			t.s.Ready = append(t.s.Ready, i)
		}
	}
}

// end notes that a step has ended, and all that ends with it: what needs a step
// that failed or never ran does not run either.
func (t *turn) end(i int, status Status) {
	t.s.Steps[i].Status = status
	t.s.Open--

	for _, j := range t.waiters[i] {
		t.s.Steps[j].Unmet--
		if t.s.Steps[j].Unmet > 0 || t.s.Steps[j].Status != Waiting {
			continue
		}

		if without := t.missing(j); without != "" {
			t.skip(j, without+" was not done")
			continue
		}
		at, _ := slices.BinarySearch(t.s.Ready, j)
		t.s.Ready = slices.Insert(t.s.Ready, at, j)
	}
}

// missing is the first step that another needs and that has not succeeded.
func (t *turn) missing(i int) string {
	for _, j := range t.needs[i] {
		if t.s.Steps[j].Status != Done {
			return t.steps[j].ID
		}
	}

	return ""
}

func (t *turn) skip(i int, why string) {
	t.out = append(t.out, Skip{Step: t.steps[i].ID, Why: why})
	t.end(i, Skipped)
}

// cancel lets nothing more begin. What runs is told by whoever runs it.
func (t *turn) cancel() {
	t.s.Cancelled, t.s.Ready = true, nil

	for i := range t.s.Steps {
		if t.s.Steps[i].Status == Waiting {
			t.s.Steps[i].Status = Skipped
			t.s.Open--
			t.out = append(t.out, Skip{Step: t.steps[i].ID, Why: "it was cancelled"})
		}
	}
}

// start begins what is ready, as far as the window goes.
func (t *turn) start() {
	for len(t.s.Ready) > 0 && t.s.Running < t.window {
		i := t.s.Ready[0]
		t.s.Ready = t.s.Ready[1:]
		t.s.Steps[i].Status = Running
		t.s.Running++
		t.out = append(t.out, Do{Step: t.steps[i]})
	}
}
