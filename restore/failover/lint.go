package failover

import (
	"fmt"
	"slices"

	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
)

// Problem is what Lint finds.
type Problem struct {
	// Step is empty for the plan as a whole.
	Step string `json:"step,omitempty"`
	// Error says that the plan must not run; others deserve a look.
	Error bool   `json:"error"`
	Text  string `json:"text"`
}

// Lint finds what is wrong with a plan as a whole, as it is carried out in its own
// mode: circles, steps that nobody can run, a promotion without proof of silence,
// something of the topology that is left out, clients let go too early. A plan
// whose form is wrong is not looked at further.
func Lint(d plan.Definition, t Topology) []Problem {
	if err := d.Check(); err != nil {
		return []Problem{{Error: true, Text: err.Error()}}
	}

	l := &linter{d: d, t: t, o: d.Outline(d.Mode)}
	if !l.order() {
		return l.found
	}

	l.closure()
	l.runnable()
	l.promotions()
	l.routes()
	l.noReturn()
	l.sections()
	l.leftOut()

	return l.found
}

// HasErrors reports whether a plan with these problems must not run.
func HasErrors(found []Problem) bool {
	return slices.ContainsFunc(found, func(p Problem) bool { return p.Error })
}

type linter struct {
	d      plan.Definition
	t      Topology
	o      plan.Outline
	before []map[int]bool // by step: those that surely were done when it begins
	found  []Problem
}

func (l *linter) say(step string, format string, args ...any) {
	l.found = append(l.found, Problem{Step: step, Error: true, Text: fmt.Sprintf(format, args...)})
}

func (l *linter) look(step string, format string, args ...any) {
	l.found = append(l.found, Problem{Step: step, Text: fmt.Sprintf(format, args...)})
}

// order finds needs that name nothing, and circles, with and without sections.
func (l *linter) order() bool {
	if _, err := machine.New(l.o); err != nil {
		l.say("", "%v", err)
		return false
	}

	if _, err := machine.New(l.o.Folded()); err != nil {
		l.say("", "a section would wait for itself: %v", err)
		return false
	}

	return true
}

// closure computes what was surely done when a step begins. A step that is not of
// this mode, or whose failure stops nothing, is sure of what it needs itself, and
// is not done itself.
func (l *linter) closure() {
	l.before = make([]map[int]bool, len(l.o.Steps))

	var visit func(i int) map[int]bool
	visit = func(i int) map[int]bool {
		if l.before[i] != nil {
			return l.before[i]
		}
		sure := map[int]bool{}
		l.before[i] = sure

		for _, need := range l.o.Steps[i].Needs {
			for j, o := range l.o.Steps {
				if j == i || !plan.Means(need, o.ID) {
					continue
				}

				if o.Behaviour != plan.Skip && o.Behaviour != plan.Rehearse && o.IfFails != plan.GoOn {
					sure[j] = true
				}

				for k := range visit(j) {
					sure[k] = true
				}
			}
		}

		return sure
	}

	for i := range l.o.Steps {
		visit(i)
	}
}

// surely reports whether a step that matches was done when step i begins.
func (l *linter) surely(i int, match func(plan.StepDef) bool) bool {
	for j := range l.before[i] {
		if match(l.d.Steps[j]) {
			return true
		}
	}

	return false
}

// acts reports whether a step does anything in the plan's own mode.
func (l *linter) acts(i int) bool {
	b := l.o.Steps[i].Behaviour

	return b != plan.Skip && b != plan.Rehearse
}

// runnable finds steps that nobody can carry out.
func (l *linter) runnable() {
	for i, s := range l.d.Steps {
		if s.Do == plan.OpInclude {
			l.say(s.ID, "the plan %q that it includes was not found", s.With.Include.Plan)
		}

		if s.In(l.d.Mode) == plan.Skip && s.Reason == "" {
			l.say(s.ID, "it is skipped, and nobody says why")
		}

		if !l.acts(i) {
			continue
		}

		if s.Region != "" && !slices.Contains(l.t.Regions, s.Region) {
			l.say(s.ID, "nobody can run it: region %s has no workers", s.Region)
		}

		if s.Region == l.d.From && l.d.Mode == plan.ModeFailover && s.IfFails != plan.GoOn {
			l.say(s.ID, "nobody can run it: it is to be done in %s, which is gone", s.Region)
		}

		if s.IfFails == plan.Stop {
			l.say(s.ID, "nobody says what follows when it fails (if_fails): the plan would end in between")
		}

		if s.Limit == 0 && !s.Do.Asks() {
			l.say(s.ID, "it has no limit: when it hangs, so does the recovery")
		}

		l.subject(s)
	}
}

// subject holds what a step is about against the topology.
func (l *linter) subject(s plan.StepDef) {
	if s.Service != "" && l.t.service(s.Service) < 0 {
		l.look(s.ID, "there is no service %s in the topology", s.Service)
	}

	if s.Do == plan.OpClaim && !l.t.Witness {
		l.say(s.ID, "nobody can run it: there are fewer than three voters (vaults and witness)")
	}

	if s.With.Reroute != nil && !slices.ContainsFunc(l.t.Routes, func(r Route) bool { return r.Name == s.With.Reroute.Route }) {
		l.say(s.ID, "nobody can run it: there is no route %s", s.With.Reroute.Route)
	}

	onShard := slices.Contains([]plan.Op{plan.OpFence, plan.OpDrain, plan.OpFeed, plan.OpPromote, plan.OpRestore, plan.OpResolve, plan.OpFollow, plan.OpRejoin, plan.OpReconcile}, s.Do)
	if s.On == (targets.ShardID{}) {
		if onShard {
			l.say(s.ID, "nobody can run it: a %s is of one shard, and it names none", s.Do)
		}

		return
	}

	i := slices.IndexFunc(l.t.Shards, func(x Shard) bool { return x.ID == s.On })
	if i < 0 {
		l.say(s.ID, "nobody can run it: there is no shard %s", s.On)
		return
	}

	if x := l.t.Shards[i]; x.Kind != s.Kind {
		l.say(s.ID, "%s is of kind %s, not %s", s.On, x.Kind, s.Kind)
	} else if !x.log() && slices.Contains([]plan.Op{plan.OpFence, plan.OpFeed, plan.OpPromote}, s.Do) {
		l.say(s.ID, "nobody can run it: %s is of kind %s and has no primary", s.On, s.Kind)
	}

	if x := l.t.Shards[i]; s.Do == plan.OpReconcile && !x.bothSides(l.d.From, l.d.To) {
		l.say(s.ID, "nobody can run it: %s does not take writes in %s and in %s", s.On, l.d.From, l.d.To)
	}

	if s.Do == plan.OpRestore && s.Into == (plan.Destination{}) {
		l.say(s.ID, "nobody can run it: it has no destination")
	}
}

// promotions finds a promotion without proof of silence, or with log left behind.
func (l *linter) promotions() {
	for i, s := range l.d.Steps {
		if s.Do != plan.OpPromote || !l.acts(i) {
			continue
		}

		of := func(ops ...plan.Op) func(plan.StepDef) bool {
			return func(o plan.StepDef) bool { return o.On == s.On && slices.Contains(ops, o.Do) }
		}

		if !l.surely(i, of(plan.OpFence)) {
			l.say(s.ID, "a promotion without proof of silence: it does not need a fence of %s that must succeed", s.On)
		}

		if l.t.Witness && !l.surely(i, func(o plan.StepDef) bool { return o.Do == plan.OpClaim }) {
			l.say(s.ID, "a promotion without the group's epoch: it does not need a claim that must succeed, and another run may promote as well")
		}

		switch {
		case l.d.Mode == plan.ModeFailover && !l.surely(i, of(plan.OpFeed, plan.OpRestore)):
			l.say(s.ID, "a promotion without what the vault holds: it needs neither a feed nor a restore of %s that must succeed", s.On)
		case l.d.Mode != plan.ModeFailover && !l.surely(i, of(plan.OpDrain)):
			l.say(s.ID, "a promotion before the standby holds everything: it does not need a drain of %s that must succeed", s.On)
		}

		for _, r := range l.t.Routes {
			if slices.Contains(r.For, s.On.Target) && !l.surely(i, moves(r.Name, plan.RouteHold, plan.RouteIsolate)) {
				l.say(s.ID, "clients of route %s are neither held nor isolated before it", r.Name)
			}
		}
	}

	for i, s := range l.d.Steps {
		if s.Do == plan.OpDrain && l.acts(i) && s.Kind.Traits().Log && !l.surely(i, func(o plan.StepDef) bool { return o.Do == plan.OpFence && o.On == s.On }) {
			l.say(s.ID, "it drains a primary that still takes writes: it does not need a fence of %s", s.On)
		}

		if s.Do == plan.OpFeed && l.acts(i) && !l.surely(i, func(o plan.StepDef) bool { return o.Do == plan.OpFence && o.On == s.On }) {
			l.say(s.ID, "it feeds while the old primary may still write: it does not need a fence of %s", s.On)
		}
	}
}

// moves matches the steps that move a route so.
func moves(route string, what ...string) func(plan.StepDef) bool {
	return func(s plan.StepDef) bool {
		return s.With.Reroute != nil && s.With.Reroute.Route == route && slices.Contains(what, s.With.Reroute.Move)
	}
}

// routes finds clients that are pointed to, or let go on, what is not ready.
func (l *linter) routes() {
	for i, s := range l.d.Steps {
		if s.Do != plan.OpReroute || !l.acts(i) {
			continue
		}
		r := s.With.Reroute

		switch r.Move {
		case plan.RouteSwitch:
			k := slices.IndexFunc(l.t.Routes, func(x Route) bool { return x.Name == r.Route })
			if k < 0 {
				continue // said already
			}

			for j, o := range l.d.Steps {
				if o.Do == plan.OpPromote && l.acts(j) && slices.Contains(l.t.Routes[k].For, o.On.Target) && !l.before[i][j] {
					l.say(s.ID, "clients are pointed to %s before it is promoted", o.On)
				}
			}

			if l.store(l.t.Routes[k]) && !l.surely(i, moves(r.Route, plan.RouteHold, plan.RouteIsolate)) {
				l.say(s.ID, "route %s is switched without being held or isolated first", r.Route)
			}
		case plan.RouteRelease:
			if !l.surely(i, moves(r.Route, plan.RouteSwitch)) {
				l.say(s.ID, "clients of route %s are let go before it was switched", r.Route)
			}
		}
	}
}

// store reports whether a route leads to shards that have a log.
func (l *linter) store(r Route) bool {
	return slices.ContainsFunc(l.t.Shards, func(s Shard) bool { return s.log() && slices.Contains(r.For, s.ID.Target) })
}

// noReturn finds what could neither be undone nor is known to be done when
// nothing can be undone any more.
func (l *linter) noReturn() {
	for i, s := range l.d.Steps {
		if !l.acts(i) {
			continue
		}

		if s.Do == plan.OpPromote && !s.NoReturn {
			l.say(s.ID, "a promotion is a point of no return, and this one is not marked as one: it could be undone with clients' writes on it")
		}

		if s.NoReturn && s.Undo != nil {
			l.say(s.ID, "it is a point of no return and has a way back")
		}

		if !s.NoReturn {
			continue
		}

		for j, o := range l.d.Steps {
			if j != i && o.Undo != nil && l.acts(j) && !l.before[i][j] && !l.behind(j) {
				l.say(o.ID, "it can be undone until %s begins, and nothing makes it end before that", s.ID)
			}
		}
	}
}

// behind reports whether a step comes after a point of no return.
func (l *linter) behind(i int) bool {
	return l.surely(i, func(s plan.StepDef) bool { return s.NoReturn })
}

// sections finds what cannot be done in one breath.
func (l *linter) sections() {
	region := map[string]string{}

	for _, s := range l.d.Steps {
		if s.Section == "" {
			continue
		}

		if s.Do.Asks() || s.In(l.d.Mode) == plan.Ask {
			l.say(s.ID, "people are asked inside the section %s, while clients wait", s.Section)
		}

		if s.Do == plan.OpFence && s.With.Fence.Vouched() {
			l.say(s.ID, "a person's statement is waited for inside the section %s", s.Section)
		}

		if _, taken := l.d.Step(s.Section); taken {
			l.say(s.ID, "section %s has the name of a step", s.Section)
		}

		if other, ok := region[s.Section]; ok && other != s.Region {
			l.say(s.ID, "section %s is run by one activity, and its steps are of two regions (%s, %s)", s.Section, other, s.Region)
		}
		region[s.Section] = s.Region
	}
}

// leftOut finds shards, routes and services of the topology that the plan forgets.
func (l *linter) leftOut() {
	has := func(match func(plan.StepDef) bool) bool {
		for i, s := range l.d.Steps {
			if l.acts(i) && match(s) {
				return true
			}
		}

		return false
	}

	for _, s := range l.t.Shards {
		switch on := func(do plan.Op) func(plan.StepDef) bool {
			return func(x plan.StepDef) bool { return x.On == s.ID && x.Do == do }
		}; {
		case s.log() && !has(on(plan.OpPromote)):
			l.say("", "%s is left out: nothing promotes it", s.ID)
		case !has(on(plan.OpVerify)):
			l.look("", "nothing verifies %s", s.ID)
		}
	}

	for _, r := range l.t.Routes {
		if !has(moves(r.Name, plan.RouteSwitch)) || !has(moves(r.Name, plan.RouteRelease)) {
			l.say("", "route %s is left out: its clients are not switched and let go", r.Name)
		}
	}

	for _, s := range l.t.Services {
		if (s.Up != (plan.Args{}) || s.Check != nil) && !has(func(x plan.StepDef) bool { return x.Service == s.Name }) {
			l.say("", "service %s is left out", s.Name)
		}
	}
}
