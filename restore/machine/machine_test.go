package machine_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// outline draws steps in three targets; needs go to steps drawn before, some by
// a star, so that there is no circle.
func outline(t *rapid.T) plan.Outline {
	o := plan.Outline{Window: rapid.IntRange(0, 5).Draw(t, "window")}

	for i := range rapid.IntRange(0, 14).Draw(t, "steps") {
		n := plan.Node{ID: fmt.Sprintf("%c/%d", 'a'+i%3, i)}
		for _, s := range o.Steps {
			switch rapid.IntRange(0, 7).Draw(t, "edge") {
			case 0:
				n.Needs = append(n.Needs, s.ID)
			case 1:
				n.After = append(n.After, s.ID)
			}
		}
		o.Steps = append(o.Steps, n)
	}

	if len(o.Steps) > 2 && rapid.Bool().Draw(t, "star") {
		o.Steps = append(o.Steps, plan.Node{ID: "last", Needs: []string{"a/*"}, After: []string{"b/*", "none/*"}})
	}

	return o
}

// sim plays the world: it ends the steps that run in any order, fails some, and
// may cancel. It checks what the machine says against a model that knows only
// what was told.
type sim struct {
	t       *rapid.T
	o       plan.Outline
	window  int
	ended   map[string]bool // step: whether it succeeded
	skipped map[string]bool
	running []string
	stopped bool
	over    int
}

func (s *sim) before(n plan.Node, names []string) (out []string) {
	for _, name := range names {
		for _, o := range s.o.Steps {
			if o.ID != n.ID && plan.Means(name, o.ID) {
				out = append(out, o.ID)
			}
		}
	}

	return out
}

func (s *sim) take(cmds []machine.Command) {
	for _, c := range cmds {
		switch c := c.(type) {
		case machine.Do:
			s.begins(c.Step)
		case machine.Skip:
			s.skips(c)
		case machine.Finish:
			s.over++
		}
	}

	if len(s.running) > s.window {
		s.t.Fatalf("%d run at once, the window is %d", len(s.running), s.window)
	}
}

func (s *sim) begins(n plan.Node) {
	if s.stopped {
		s.t.Fatalf("%s begins after the cancellation", n.ID)
	}

	if _, again := s.ended[n.ID]; again || s.skipped[n.ID] || slices.Contains(s.running, n.ID) {
		s.t.Fatalf("%s begins twice, or after it was skipped", n.ID)
	}

	for _, id := range s.before(n, n.Needs) {
		if !s.ended[id] {
			s.t.Fatalf("%s begins before %s has succeeded", n.ID, id)
		}
	}

	for _, id := range s.before(n, n.After) {
		if _, ended := s.ended[id]; !ended && !s.skipped[id] {
			s.t.Fatalf("%s begins before %s has ended", n.ID, id)
		}
	}

	s.running = append(s.running, n.ID)
}

func (s *sim) skips(c machine.Skip) {
	if _, ended := s.ended[c.Step]; ended || s.skipped[c.Step] || slices.Contains(s.running, c.Step) {
		s.t.Fatalf("%s is skipped and has begun, or was skipped before", c.Step)
	}

	s.skipped[c.Step] = true
	if s.stopped {
		return
	}

	// Without a cancellation only what needs a step that did not succeed is skipped.
	for _, n := range s.o.Steps {
		if n.ID != c.Step {
			continue
		}

		for _, id := range s.before(n, n.Needs) {
			if ok, ended := s.ended[id]; ended && !ok || s.skipped[id] {
				if !strings.HasSuffix(c.Why, " was not done") {
					s.t.Fatalf("%s is skipped because %q", c.Step, c.Why)
				}

				return
			}
		}

		s.t.Fatalf("%s is skipped because %q, and all that it needs succeeded", c.Step, c.Why)
	}
}

// property: whatever happens in whatever order, the machine keeps what its
// package promises, and a state that was stored goes on as the one in memory.
func property(t *rapid.T) {
	o := outline(t)

	m, err := machine.New(o)
	if err != nil {
		if strings.Contains(err.Error(), "a/*") {
			return // no step of that name was drawn
		}

		t.Fatal(err)
	}

	s := &sim{t: t, o: o, window: o.Window, ended: map[string]bool{}, skipped: map[string]bool{}}
	if s.window == 0 {
		s.window = 4
	}

	var first machine.Event = machine.Begin{}
	if rapid.IntRange(0, 20).Draw(t, "cancelled at once") == 0 {
		first, s.stopped = machine.Cancelled{}, true
	}
	state, cmds := m.Next(machine.State{}, first)
	s.take(cmds)

	for s.over == 0 {
		var e machine.Event
		switch pick := rapid.IntRange(0, 30).Draw(t, "event"); {
		case pick == 0:
			e, s.stopped = machine.Cancelled{}, true
		case pick == 1: // an event that cannot be
			e = machine.Ended{Step: "nobody"}
		case len(s.running) == 0:
			t.Fatalf("nothing runs and the run is not over: %+v", state)
		default:
			i := rapid.IntRange(0, len(s.running)-1).Draw(t, "which")
			x := machine.Ended{Step: s.running[i], Failed: rapid.IntRange(0, 4).Draw(t, "failed") == 0}
			s.running = slices.Delete(s.running, i, i+1)
			s.ended[x.Step], e = !x.Failed, x
		}

		kept := stored(t, state)

		next, cmds := m.Next(state, e)
		if !reflect.DeepEqual(kept, stored(t, state)) {
			t.Fatal("the state that was given has changed")
		}

		if again, same := m.Next(kept, e); !reflect.DeepEqual(stored(t, again), stored(t, next)) || !reflect.DeepEqual(same, cmds) {
			t.Fatalf("a stored state goes another way: %v, not %v", same, cmds)
		}
		state = next

		s.take(cmds)
	}

	if s.over != 1 || len(s.running) > 0 || len(s.ended)+len(s.skipped) != len(o.Steps) {
		t.Fatalf("over %d times, %d run, %d ended and %d skipped of %d", s.over, len(s.running), len(s.ended), len(s.skipped), len(o.Steps))
	}

	if _, cmds := m.Next(state, machine.Cancelled{}); len(cmds) > 0 {
		t.Fatalf("after the end: %v", cmds)
	}
}

// stored is a state that went through JSON.
func stored(t *rapid.T, s machine.State) (out machine.State) {
	b, err := json.Marshal(s)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}

	if err != nil {
		t.Fatal(err)
	}

	return out
}

func TestMachine(t *testing.T) { rapid.Check(t, property) }

func FuzzMachine(f *testing.F) { f.Fuzz(rapid.MakeFuzz(property)) }

func TestNewRefuses(t *testing.T) {
	for name, steps := range map[string][]plan.Node{
		"no name":            {{}},
		"two of one name":    {{ID: "a"}, {ID: "a"}},
		"an unknown need":    {{ID: "a", Needs: []string{"b"}}},
		"a star for nothing": {{ID: "a", Needs: []string{"b*"}}},
		"itself":             {{ID: "a", Needs: []string{"a"}}},
		"a circle":           {{ID: "a", Needs: []string{"b"}}, {ID: "b", After: []string{"a"}}},
	} {
		if _, err := machine.New(plan.Outline{Steps: steps}); !fail.Is(err, fail.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A failed step of one target stops what needs that target, and nothing else.
func TestOrder(t *testing.T) {
	m, err := machine.New(plan.Outline{Window: 10, Steps: []plan.Node{
		{ID: "restore-orders/0"}, {ID: "restore-orders/1"},
		{ID: "restore-carts/0", Needs: []string{"restore-orders/*"}},
		{ID: "verify-orders/0", Needs: []string{"restore-orders/0"}}}})
	if err != nil {
		t.Fatal(err)
	}

	s, cmds := m.Next(machine.State{}, machine.Begin{})
	if len(cmds) != 2 {
		t.Fatalf("%v", cmds)
	}

	s, cmds = m.Next(s, machine.Ended{Step: "restore-orders/1", Failed: true})
	if len(cmds) != 0 {
		t.Fatalf("%v", cmds)
	}

	s, cmds = m.Next(s, machine.Ended{Step: "restore-orders/0"})
	if len(cmds) != 2 || cmds[0] != (machine.Skip{Step: "restore-carts/0", Why: "restore-orders/1 was not done"}) || cmds[1].(machine.Do).Step.ID != "verify-orders/0" {
		t.Fatalf("%v", cmds)
	}

	if _, cmds = m.Next(s, machine.Ended{Step: "verify-orders/0", Failed: true}); len(cmds) != 1 || cmds[0] != (machine.Finish{}) {
		t.Fatalf("%v", cmds)
	}
}
