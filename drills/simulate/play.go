package simulate

import (
	"math/rand/v2"
	"slices"

	"drctl/restore/failover"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// mostEvents is how many a schedule may have; one that needs more does not end.
const mostEvents = 4000

// Table is a plan that is laid out to be played.
type Table struct {
	d     plan.Definition
	t     failover.Topology
	mode  plan.Mode
	bug   Bug
	outer *machine.Machine
	inner map[string]*machine.Machine // by section
}

// Lay lays a plan out, in a mode, with a bug planted or none. It fails with invalid
// when the interpreter cannot take the plan.
func Lay(d plan.Definition, t failover.Topology, mode plan.Mode, bug Bug) (*Table, error) {
	d = plant(d, bug)
	o := d.Outline(mode)
	tb := &Table{d: d, t: t, mode: mode, bug: bug, inner: map[string]*machine.Machine{}}

	var err error
	if tb.outer, err = machine.New(o.Folded()); err != nil {
		return nil, err
	}

	for _, s := range d.Steps {
		if s.Section == "" || tb.inner[s.Section] != nil {
			continue
		}

		if tb.inner[s.Section], err = machine.New(o.Within(s.Section)); err != nil {
			return nil, err
		}
	}

	return tb, nil
}

// Result is what came of one schedule.
type Result struct {
	Seed     uint64          `json:"seed"`
	Verdict  machine.Verdict `json:"verdict"`
	Violated []string        `json:"violated,omitempty"`
	Events   int             `json:"events"`
	Faults   int             `json:"faults"`
	// Lost is how many shards ended without log that the old side had.
	Lost  int      `json:"lost"`
	Trace []string `json:"trace,omitempty"`
}

// Play plays one schedule. Seed 0 is the one in which nothing goes wrong.
func (tb *Table) Play(seed uint64, trace bool) Result {
	rng := rand.New(rand.NewPCG(seed, 9)) // nothing secret: a schedule has to be found again
	g := &game{Table: tb, w: newWorld(tb.t, tb.mode, rng, seed == 0, tb.bug), inside: map[string]*run{}}
	g.w.tracing = trace
	g.all = &run{m: tb.outer}
	g.tell(g.all, machine.Begin{})

	n := 0
	for ; !g.all.s.Finished && len(g.w.broken) == 0; n++ {
		if n > mostEvents {
			g.w.violated("it does not end")
			break
		}

		if !g.turn() {
			g.w.violated("no way leads on: nothing runs, nobody is asked, and it is not finished")
			break
		}
	}

	g.ended()
	out := Result{Seed: seed, Verdict: tb.outer.Verdict(g.all.s), Violated: g.w.broken, Events: n, Faults: g.w.faults, Trace: g.w.trace}

	for _, s := range g.w.shards {
		if s.log && s.new.writes && s.new.end < s.old.end {
			out.Lost++
		}
	}

	return out
}

// run is one machine at work: the plan's, or that of a section.
type run struct {
	m       *machine.Machine
	s       machine.State
	section string
	tasks   []task
}

// task is something that will end: an attempt, an undoing, a timer or a question.
type task struct {
	node    plan.Node
	undo    bool
	timer   int
	ask     machine.Question
	section *run // the step is a section, which ends by itself
}

// game is one schedule.
type game struct {
	*Table
	w      *world
	all    *run
	inside map[string]*run
	gaveUp bool
}

// tell gives a machine an event and does what it says.
func (g *game) tell(r *run, e machine.Event) {
	var cmds []machine.Command
	r.s, cmds = r.m.Next(r.s, e)

	for _, c := range cmds {
		switch c := c.(type) {
		case machine.Do:
			t := task{node: c.Step}
			if c.Step.Op == plan.OpSection {
				t.section = g.enter(c.Step.ID)
			}
			r.tasks = append(r.tasks, t)
		case machine.Undo:
			r.tasks = append(r.tasks, task{node: c.Step, undo: true})
		case machine.Wait:
			r.tasks = append(r.tasks, task{node: plan.Node{ID: c.Step}, timer: c.Timer})
		case machine.Ask:
			g.w.note("asked: %s of %s", c.Question, c.Step)
			r.tasks = append(r.tasks, task{node: plan.Node{ID: c.Step}, ask: c.Question})
		case machine.Halt:
			if in := g.inside[c.Step]; in != nil {
				g.tell(in, machine.Cancelled{})
			}
		}
	}
}

// enter begins a section, or goes on with it where its journal ends: what asked
// for people is tried again, because they have just said so.
func (g *game) enter(id string) *run {
	in := g.inside[id]
	if in == nil || in.s.Finished && in.m.Verdict(in.s) == machine.TakenBack {
		in = &run{m: g.inner[id], section: id}
		g.inside[id] = in
		g.tell(in, machine.Begin{})

		return in
	}

	asks := in.tasks
	in.tasks = nil

	for _, t := range asks {
		if t.ask == "" {
			in.tasks = append(in.tasks, t)
			continue
		}

		g.tell(in, machine.Answered{Step: t.node.ID, Answer: machine.SayRetry, By: "section"})
	}

	return in
}

// turn lets one thing happen, and reports whether anything could.
func (g *game) turn() bool {
	if g.w.rng.IntN(3) == 0 {
		g.w.drift()
	}

	if g.w.chance(400) {
		g.w.note("cancelled")
		g.tell(g.all, machine.Cancelled{})

		return true
	}

	runs := []*run{g.all}
	for _, t := range g.all.tasks {
		if t.section != nil {
			runs = append(runs, t.section)
		}
	}
	r := runs[g.w.rng.IntN(len(runs))]

	for range runs {
		if g.one(r) {
			return true
		}
		r = runs[(slices.Index(runs, r)+1)%len(runs)]
	}

	return false
}

// one lets one task of a machine end, and reports whether any could, or will.
func (g *game) one(r *run) bool {
	r.tasks = slices.DeleteFunc(r.tasks, func(t task) bool { return g.gone(r, t) })
	if len(r.tasks) == 0 {
		return false
	}
	first, patient := g.w.rng.IntN(len(r.tasks)), false

	for k := range r.tasks {
		i := (first + k) % len(r.tasks)
		t := r.tasks[i]

		if t.ask != "" && r.section != "" {
			continue // nobody is asked inside a section: it ends instead
		}

		if t.section != nil && !t.section.still() {
			continue
		}

		if t.timer > 0 && r.asks(t) && !g.w.chance(20) {
			patient = true // people mostly answer in time
			continue
		}
		r.tasks = slices.Delete(r.tasks, i, i+1)
		g.happens(r, t)

		return true
	}

	return patient
}

// asks reports whether a timer is of people, and not of a pause.
func (r *run) asks(t task) bool {
	return slices.ContainsFunc(r.s.Steps, func(s machine.StepState) bool { return s.Timer == t.timer && s.Status == machine.Asking })
}

// still reports whether a section has come to rest: it is finished, or all that is
// left to do is to ask.
func (r *run) still() bool {
	return r.s.Finished || !slices.ContainsFunc(r.tasks, func(t task) bool { return t.ask == "" })
}

// gone reports whether a question or a timer counts no more.
func (g *game) gone(r *run, t task) bool {
	if t.ask == "" && t.timer == 0 {
		return false
	}

	for i, s := range r.s.Steps {
		if r.m.ID(i) == t.node.ID {
			return t.timer > 0 && s.Timer != t.timer || t.ask != "" && (s.Status != machine.Asking || s.Question != t.ask)
		}
	}

	return true
}

// happens is the end of a task.
func (g *game) happens(r *run, t task) {
	s, _ := g.d.Step(t.node.ID)

	switch {
	case t.timer > 0:
		g.tell(r, machine.Elapsed{Timer: t.timer})
	case t.ask != "":
		g.people(r, t, s)
	case t.section != nil && t.undo:
		g.tell(r, machine.Undid{Step: t.node.ID})
	case t.section != nil:
		v := t.section.m.Verdict(t.section.s)
		g.w.note("section %s: %s", t.node.ID, v)
		g.tell(r, machine.Ended{Step: t.node.ID, Failed: v != machine.Reached, Untouched: v == machine.TakenBack})
	case t.undo:
		g.tell(r, machine.Undid{Step: t.node.ID, Failed: !g.takeBack(t.node, s)})
	default:
		x := g.w.do(s, t.node.Behaviour == plan.Rehearse)
		g.tell(r, machine.Ended{Step: t.node.ID, Failed: x.failed, Untouched: x.untouched})
	}
}

// takeBack undoes a step, or all steps of a section that was done, the last first.
func (g *game) takeBack(n plan.Node, s plan.StepDef) bool {
	if n.Op != plan.OpSection {
		return g.w.undo(s)
	}

	ok := true

	for _, x := range slices.Backward(g.d.Steps) {
		if x.Section == n.ID && x.Undo != nil {
			ok = g.w.undo(x) && ok
		}
	}

	return ok
}

var names = []string{"ann", "bob", "cid", "dee"}

// people answer, mostly to the point.
func (g *game) people(r *run, t task, s plan.StepDef) {
	a := machine.Answered{Step: t.node.ID, Answer: machine.SayYes, By: names[g.w.rng.IntN(len(names))], Reason: "decided at the table"}

	switch t.ask {
	case machine.AskFailed, machine.AskUndo:
		a.Answer = machine.SayRetry

		switch k := g.w.rng.IntN(20); {
		case k == 0:
			a.Answer, g.gaveUp = machine.SayGiveUp, true
		case t.ask == machine.AskUndo || k > 10:
		case s.Do == plan.OpFence && s.With.Fence.Vouched():
			if g.w.vouched(s) {
				a.Answer = machine.SayVouch
			}
		case s.ID != "" && !s.Do.Fixed():
			a.Answer = machine.SaySkip

			g.w.byHand(s)
		}
	default:
		if g.w.chance(40) {
			a.Answer = machine.SayNo
		}
	}

	g.w.note("%s says %s to %s of %s", a.By, a.Answer, t.ask, t.node.ID)
	g.tell(r, a)

	if len(r.s.Steps) > 0 && !g.gone(r, t) { // the question still stands
		r.tasks = append(r.tasks, t)
	}
}

// ended holds the end against what it is called.
func (g *game) ended() {
	if !g.all.s.Finished || len(g.w.broken) > 0 {
		return
	}
	v := g.outer.Verdict(g.all.s)
	g.w.note("the end: %s", v)

	for _, s := range g.w.shards {
		switch {
		case !s.log:
		case v == machine.Reached && g.touches() && (!s.new.writes || s.old.writes):
			g.w.violated("it ends as reached, and %s is not served by the new side alone", s.id)
		case v == machine.TakenBack && (s.new.writes || s.before.writes && !s.old.writes):
			g.w.violated("it ends as taken back, and the old side of %s does not take writes again", s.id)
		}
	}

	for _, r := range g.w.routes {
		switch {
		case v == machine.Reached && g.touches() && (!r.open || !r.toNew):
			g.w.violated("it ends as reached, and clients of %s are not on the new side", r.name)
		case v == machine.TakenBack && (!r.open || r.toNew):
			g.w.violated("it ends as taken back, and clients of %s are not on the old side", r.name)
		}
	}

	if v == machine.Parted && !g.gaveUp {
		g.w.violated("it ends in between, and nobody decided so")
	}

	if g.w.calm && v != machine.Reached {
		g.w.violated("it does not reach its end when nothing goes wrong: %s", v)
	}
}

// touches reports whether the mode changes anything; a rehearsal does not.
func (g *game) touches() bool { return g.mode != plan.ModeDrill }
