package machine_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"drctl/restore/machine"
	"drctl/restore/plan"
)

// typed draws a small plan with everything that a step can be.
func typed(t *rapid.T, most int) plan.Outline {
	o := plan.Outline{Window: rapid.IntRange(1, 3).Draw(t, "window")}

	for i := range rapid.IntRange(1, most).Draw(t, "steps") {
		n := plan.Node{ID: fmt.Sprintf("s%d", i),
			Op:        rapid.SampledFrom([]plan.Op{plan.OpFence, plan.OpFeed, plan.OpReroute, plan.OpApprove, plan.OpManual}).Draw(t, "op"),
			Behaviour: rapid.SampledFrom([]plan.Behaviour{"", "", "", plan.Skip, plan.Rehearse, plan.Ask}).Draw(t, "behaviour"),
			IfFails:   rapid.SampledFrom([]plan.Consequence{plan.Stop, plan.Abort, plan.Abort, plan.AskPeople, plan.GoOn}).Draw(t, "if fails"),
			Retry:     plan.Retry{Attempts: rapid.IntRange(0, 2).Draw(t, "attempts")},
			Undo:      rapid.Bool().Draw(t, "undo"), NoReturn: rapid.IntRange(0, 3).Draw(t, "no return") == 0,
			People: rapid.IntRange(1, 2).Draw(t, "people"), Vouch: rapid.Bool().Draw(t, "vouch")}
		n.Limit = 1

		for _, s := range o.Steps {
			if rapid.IntRange(0, 2).Draw(t, "edge") == 0 {
				n.Needs = append(n.Needs, s.ID)
			}
		}
		o.Steps = append(o.Steps, n)
	}

	return o
}

// possible are the events that can happen in a state.
func possible(o plan.Outline, s machine.State) (out []machine.Event) {
	if s.Steps == nil {
		return []machine.Event{machine.Begin{}, machine.Cancelled{}}
	}

	out = append(out, machine.Cancelled{})

	for i, x := range s.Steps {
		id := o.Steps[i].ID

		switch x.Status {
		case machine.Running:
			out = append(out, machine.Ended{Step: id}, machine.Ended{Step: id, Failed: true}, machine.Ended{Step: id, Failed: true, Untouched: true})
		case machine.Undoing:
			out = append(out, machine.Undid{Step: id}, machine.Undid{Step: id, Failed: true})
		}

		if x.Timer > 0 {
			out = append(out, machine.Elapsed{Timer: x.Timer})
		}

		if x.Status.Ended() {
			continue
		}

		for _, say := range []machine.Answer{machine.SayYes, machine.SayNo, machine.SayRetry, machine.SaySkip, machine.SayVouch, machine.SayGiveUp} {
			out = append(out, machine.Answered{Step: id, Answer: say, By: "ann", Reason: "because"})
			if say == machine.SayYes {
				out = append(out, machine.Answered{Step: id, Answer: say, By: "bob"})
			}
		}
	}

	return out
}

// key is a state without what only counts up.
func key(s machine.State) string {
	c := s
	c.Steps = slices.Clone(s.Steps)
	c.Timers = 0

	for i := range c.Steps {
		c.Steps[i].Timer = min(c.Steps[i].Timer, 1)
		c.Steps[i].Waived = ""
	}
	b, _ := json.Marshal(c) // plain data

	return string(b)
}

// explore walks through every state that a plan can come to.
func explore(t *rapid.T, o plan.Outline, most int) (whole bool) {
	m, err := machine.New(o)
	if err != nil {
		t.Fatal(err)
	}

	states := []machine.State{{}}
	at := map[string]int{key(states[0]): 0}
	var before [][]int
	before = append(before, nil)

	for i := 0; i < len(states) && len(states) < most; i++ {
		s, moved := states[i], false

		for _, e := range possible(o, s) {
			next, cmds := m.Next(s, e)
			lawful(t, o, s, e, next, cmds)

			k := key(next)
			j, known := at[k]

			if !known {
				j = len(states)
				at[k] = j
				states, before = append(states, next), append(before, nil)
			}

			if j != i {
				moved = true
				before[j] = append(before[j], i)
			}
		}

		if !moved && !s.Finished {
			t.Fatalf("nothing leads out of %s\n%+v", key(s), o)
		}
	}

	if len(states) >= most {
		return false // too large to be walked through; what was seen was lawful
	}

	// From every state a way leads to the end.
	good := make([]bool, len(states))
	var todo []int

	for i, s := range states {
		if s.Finished {
			good[i], todo = true, append(todo, i)
		}
	}

	for len(todo) > 0 {
		i := todo[0]
		todo = todo[1:]

		for _, j := range before[i] {
			if !good[j] {
				good[j], todo = true, append(todo, j)
			}
		}
	}

	for i := range states {
		if !good[i] {
			t.Fatalf("no way leads from here to the end: %s\n%+v", key(states[i]), o)
		}
	}

	return true
}

// lawful holds one move against what the package promises.
func lawful(t *rapid.T, o plan.Outline, s machine.State, e machine.Event, next machine.State, cmds []machine.Command) {
	find := func(id string) int { return slices.IndexFunc(o.Steps, func(n plan.Node) bool { return n.ID == id }) }
	fatal := func(what string) {
		t.Fatalf("%s\nfrom %+v\nby %#v\nto %+v\nsaying %+v\nplan %+v", what, s, e, next, cmds, o)
	}

	for _, c := range cmds {
		switch c := c.(type) {
		case machine.Do:
			n := o.Steps[find(c.Step.ID)]

			if next.Aborting || next.Cancelled && !next.Past {
				fatal("a step begins although nothing is to begin")
			}

			if n.Behaviour == plan.Skip {
				fatal("a step runs that is not of this mode")
			}

			for _, need := range n.Needs {
				x := next.Steps[find(need)]
				if x.Status != machine.Done && (x.Status != machine.Failed || o.Steps[find(need)].IfFails != plan.GoOn) {
					fatal("a step begins before what it needs was done")
				}
			}
		case machine.Undo:
			if next.Past {
				fatal("something is undone behind the point of no return")
			}

			i := find(c.Step.ID)
			if next.Steps[i].Began == 0 || !o.Steps[i].Undo {
				fatal("a step is undone that never began, or has no way back")
			}

			for j, n := range o.Steps {
				if x := next.Steps[j]; slices.Contains(n.Needs, c.Step.ID) && n.Undo && n.Behaviour != plan.Rehearse && x.Began > 0 && x.Status != machine.Undone && x.Status != machine.Left {
					fatal("a step is undone before one that came behind it")
				}
			}
		case machine.Finish:
			ends(o, next, fatal)
		}
	}

	for i, x := range next.Steps {
		if o.Steps[i].Op.Fixed() && x.Waived != "" && x.Status == machine.Done && o.Steps[i].Behaviour != plan.Skip && !o.Steps[i].Vouch {
			fatal("somebody skipped what the next step rests on")
		}

		if o.Steps[i].Op == plan.OpApprove && o.Steps[i].Behaviour == "" && x.Status == machine.Done && len(slices.Compact(slices.Sorted(slices.Values(x.Agreed)))) < o.Steps[i].People {
			fatal("too few people agreed")
		}
	}

	if next.Running > o.Window {
		fatal("more run than may")
	}
}

// ends holds the end of a run against what the package promises.
func ends(o plan.Outline, s machine.State, fatal func(string)) {
	for i, x := range s.Steps {
		if !x.Status.Ended() {
			fatal("it is finished and a step is not")
		}

		if s.Aborting && o.Steps[i].Undo && o.Steps[i].Behaviour != plan.Rehearse && x.Began > 0 && x.Status != machine.Undone && x.Status != machine.Left {
			fatal("it was given up, and something was not taken back")
		}
	}
}

// TestEveryStateHasAnExit walks through all states of small plans.
func TestEveryStateHasAnExit(t *testing.T) {
	whole := 0

	rapid.Check(t, func(t *rapid.T) {
		if explore(t, typed(t, 3), 700) {
			whole++
		}
	})

	if whole < 20 {
		t.Errorf("no more than %d plans were small enough", whole)
	}
}

// walk takes drawn events through a larger plan, and then lets it end.
func walk(t *rapid.T) {
	o := typed(t, 9)

	m, err := machine.New(o)
	if err != nil {
		t.Fatal(err)
	}
	var s machine.State

	for range rapid.IntRange(0, 60).Draw(t, "events") {
		all := possible(o, s)
		s = step(t, m, o, s, all[rapid.IntRange(0, len(all)-1).Draw(t, "event")])
	}

	// From here on all goes well, and people answer.
	for k := 0; !s.Finished; k++ {
		if k > 200 {
			t.Fatalf("it does not end: %+v", s)
		}

		for _, e := range wellMeant(o, s) {
			s = step(t, m, o, s, e)
		}
	}
}

// wellMeant are events that lead to the end.
func wellMeant(o plan.Outline, s machine.State) (out []machine.Event) {
	if s.Steps == nil {
		return []machine.Event{machine.Begin{}}
	}

	for i, x := range s.Steps {
		id := o.Steps[i].ID

		switch {
		case x.Status == machine.Running:
			out = append(out, machine.Ended{Step: id})
		case x.Status == machine.Undoing:
			out = append(out, machine.Undid{Step: id})
		case x.Status == machine.Pausing:
			out = append(out, machine.Elapsed{Timer: x.Timer})
		case x.Status == machine.Asking && (x.Question == machine.AskFailed || x.Question == machine.AskUndo):
			out = append(out, machine.Answered{Step: id, Answer: machine.SayRetry, By: "ann"})
		case x.Status == machine.Asking:
			out = append(out, machine.Answered{Step: id, Answer: machine.SayYes, By: "ann"}, machine.Answered{Step: id, Answer: machine.SayYes, By: "bob"})
		}
	}

	return out
}

func step(t *rapid.T, m *machine.Machine, o plan.Outline, s machine.State, e machine.Event) machine.State {
	kept := stored(t, s)
	next, cmds := m.Next(s, e)
	lawful(t, o, s, e, next, cmds)

	again, same := m.Next(kept, e)
	if key(again) != key(next) || fmt.Sprint(same) != fmt.Sprint(cmds) {
		t.Fatalf("a stored state goes another way")
	}

	return next
}

func TestTyped(t *testing.T) { rapid.Check(t, walk) }

func FuzzTyped(f *testing.F) { f.Fuzz(rapid.MakeFuzz(walk)) }
