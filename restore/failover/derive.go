package failover

import (
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
)

// The sections of derived plans.
const (
	SectionSwitch   = "switch"   // hold, silence, drain, promote, reroute
	SectionTakeover = "takeover" // promote, resolve, reroute
)

// The limits of one attempt of a step.
const (
	quick   = 10 * time.Second // inside the outage
	short   = time.Minute
	long    = time.Hour
	longest = 24 * time.Hour // stuck, and beats are watched besides
	// foreseeing reads the ends of all logs.
	foreseeing = 10 * time.Minute
	// waking starts a server that was laid down.
	waking = 5 * time.Minute
)

// Derive makes the complete recovery plan for a switchover, a failover or a
// failback. It fails with invalid when the topology lacks what the plan needs.
func Derive(t Topology, p Policy, m plan.Mode) (plan.Definition, error) {
	p = p.filled()
	if err := t.check(p, m); err != nil {
		return plan.Definition{}, err
	}

	d := deriving{Topology: t, p: p, mode: m}
	slices.SortFunc(d.Shards, func(a, b Shard) int { return a.ID.Compare(b.ID) })

	switch m {
	case plan.ModeSwitchover:
		d.switchover()
	case plan.ModeFailback:
		d.comeBack()
		d.switchover()
	case plan.ModeFailover:
		d.failover()
	default:
		return plan.Definition{}, fail.Newf(fail.Invalid, op, t.Group, "a plan between regions is for a switchover, a failover or a failback, not for a %q", m)
	}

	d.services()
	d.afterwards()

	out := plan.Definition{Format: plan.ActionsFormat, Group: t.Group, Mode: m, Into: plan.Instances, From: p.From, To: p.To, Steps: d.steps}
	if m == plan.ModeFailover {
		out.Choice = p.Choice
	}

	return out, nil
}

// deriving is a plan that is being made.
type deriving struct {
	Topology
	p     Policy
	mode  plan.Mode
	steps []plan.StepDef
	gates []string // what has to be done before anything is touched
}

// rehearsed is the behaviour of a step that would touch production.
func rehearsed() map[plan.Mode]plan.Behaviour {
	return map[plan.Mode]plan.Behaviour{plan.ModeDrill: plan.Rehearse}
}

// add puts steps in the plan; what they need that no step is called is left out.
func (d *deriving) add(s plan.StepDef, needs ...string) {
	for _, n := range needs {
		if slices.ContainsFunc(d.steps, func(o plan.StepDef) bool { return plan.Means(n, o.ID) }) {
			s.Needs = append(s.Needs, n)
		}
	}

	d.steps = append(d.steps, s)
}

// on is a step of one shard, done in the region that takes over.
func (d *deriving) on(s Shard, do plan.Op, limit time.Duration) plan.StepDef {
	return plan.StepDef{ID: string(do) + "-" + s.ID.String(), Do: do, On: s.ID, Kind: s.Kind, Region: d.p.To, Limit: limit, IfFails: plan.Abort, Modes: rehearsed()}
}

// shards adds a step for each shard that has a log.
func (d *deriving) shards(make func(Shard) (plan.StepDef, []string)) {
	for _, s := range d.Shards {
		if s.log() {
			step, needs := make(s)
			d.add(step, needs...)
		}
	}
}

// precheck adds a condition; what is touched later needs it.
func (d *deriving) precheck(s plan.StepDef, what string, within time.Duration, needs ...string) {
	s.Do, s.Limit, s.IfFails, s.With = plan.OpPrecheck, short, plan.Abort, plan.Args{Precheck: &plan.Precheck{Check: what, Within: within}}
	s.Retry = plan.Retry{Attempts: 2, Backoff: time.Second}
	s.Modes = nil // a drill checks as the real day does
	d.add(s, needs...)
}

// gate adds the prechecks and the decision. Nothing is touched before.
func (d *deriving) gate(standby string) {
	for _, s := range d.Shards {
		if d.anew(s, d.p, d.mode) {
			continue // there is nothing that could stand by
		}

		d.precheck(plan.StepDef{ID: "ready-" + s.ID.String(), On: s.ID, Kind: s.Kind, Region: d.p.To}, standby, d.p.Lag, "return-"+s.ID.String())
	}

	d.precheck(plan.StepDef{ID: "vault", Region: d.p.To}, plan.CheckVault, 0)
	d.foresee()

	if len(d.Routes) > 0 {
		d.precheck(plan.StepDef{ID: "routes", Region: d.p.To}, plan.CheckRoutes, 0)
	}
	d.gates = []string{"ready-*", "vault", "moment", "place-*", "routes"}

	if d.p.People == 0 {
		return
	}

	// The decision is the last thing: what people agree to has passed its checks.
	d.approve("approve", d.gates...)
	d.gates = []string{"approve"}
}

func (d *deriving) approve(id string, needs ...string) {
	d.add(plan.StepDef{ID: id, Do: plan.OpApprove, Limit: d.p.ApproveWithin, IfFails: plan.Abort, Modes: rehearsed(),
		With: plan.Args{Approve: &plan.Approve{People: d.p.People, Roles: d.p.Roles}}}, needs...)
}

// reroute adds one move of routes.
func (d *deriving) reroute(routes []Route, move, section string, undo bool, needs ...string) {
	for _, r := range routes {
		s := plan.StepDef{ID: move + "-" + r.Name, Do: plan.OpReroute, Region: d.p.To, Limit: quick, IfFails: plan.Abort, Modes: rehearsed(), Section: section,
			Retry: plan.Retry{Attempts: 3, Backoff: 100 * time.Millisecond}, With: plan.Args{Reroute: &plan.Reroute{Route: r.Name, Move: move}}}
		if undo {
			s.Undo = &plan.Undo{}
		}

		d.add(s, needs...)
	}
}

// switchover: nothing is lost, because the old primary was stopped cleanly and the
// standby holds its log to the very end before it is promoted.
func (d *deriving) switchover() {
	d.gate(plan.CheckReady)

	sec := SectionSwitch
	before := append(d.claim(sec, quick, plan.Abort), d.gates...)
	hold, isolate := partedBy(d.stores())
	d.reroute(hold, plan.RouteHold, sec, true, before...)
	d.reroute(isolate, plan.RouteIsolate, sec, true, before...)
	away := append([]string{"hold-*", "isolate-*"}, before...)

	d.shards(func(s Shard) (plan.StepDef, []string) {
		x := d.on(s, plan.OpFence, quick)
		x.Section, x.Undo, x.With = sec, &plan.Undo{}, plan.Args{Fence: &plan.Fence{By: []string{plan.ByStop}}}

		return x, away
	})

	d.shards(func(s Shard) (plan.StepDef, []string) {
		x := d.on(s, plan.OpDrain, quick)
		x.Section = sec

		return x, []string{"fence-" + s.ID.String(), "hold-*", "isolate-*"}
	})

	d.promotion(sec, "drain-*")
	d.release(sec)
}

// claim adds the claim of the next epoch, where there are voters enough. Of two runs one
// gets it; what is promoted needs it. In a section it comes first, while clients go on.
func (d *deriving) claim(sec string, limit time.Duration, fails plan.Consequence) []string {
	if !d.Witness {
		return nil
	}

	d.add(plan.StepDef{ID: "claim", Do: plan.OpClaim, Region: d.p.To, Limit: limit, IfFails: fails, Undo: &plan.Undo{}, Modes: rehearsed(), Section: sec,
		Retry: plan.Retry{Attempts: 2, Backoff: 100 * time.Millisecond}}, d.gates...)

	return []string{"claim"}
}

// partedBy are the routes that can keep clients waiting, and those that cannot.
func partedBy(routes []Route) (hold, isolate []Route) {
	for _, r := range routes {
		if r.Holds {
			hold = append(hold, r)
		} else {
			isolate = append(isolate, r)
		}
	}

	return hold, isolate
}

// promotion adds the point of no return, and what has to follow it before the
// first client writes.
func (d *deriving) promotion(sec string, needs ...string) {
	d.shards(func(s Shard) (plan.StepDef, []string) {
		x := d.on(s, plan.OpPromote, quick)

		x.Section, x.NoReturn, x.Retry = sec, true, plan.Retry{Attempts: 3, Backoff: 100 * time.Millisecond}
		if d.anew(s, d.p, d.mode) { // its server is started for that
			x.Limit = waking
		}

		return x, append([]string{"fence-" + s.ID.String()}, needs...)
	})

	// Without its slot the archive may miss log; an outage that goes on is worse.
	d.shards(func(s Shard) (plan.StepDef, []string) {
		x := d.on(s, plan.OpFollow, quick)
		x.Section, x.IfFails, x.Retry = sec, plan.GoOn, plan.Retry{Attempts: 2, Backoff: 100 * time.Millisecond}

		return x, []string{"promote-" + s.ID.String()}
	})
}

// release points the routes of the stores to the new side and lets clients go on.
func (d *deriving) release(sec string) {
	d.reroute(d.stores(), plan.RouteSwitch, sec, false, "promote-*", "follow-*", "resolve-*", "drain-*", "restore-*")

	var switched []string
	for _, r := range d.stores() {
		switched = append(switched, "switch-"+r.Name)
	}

	d.reroute(d.stores(), plan.RouteRelease, sec, false, switched...)
}

// failover: the old region is gone, or is made to be.
func (d *deriving) failover() {
	d.gate(plan.CheckStandby)
	d.reroute(d.Routes, plan.RouteIsolate, "", true, d.gates...)

	for i := range d.steps {
		if s := &d.steps[i]; s.Do == plan.OpReroute { // it may be as dead as what is behind it
			s.IfFails, s.Limit = plan.AskPeople, short
		}
	}
	// Its lease ends the old side's guards: it is part of the fence, and comes after the decision.
	away := append([]string{"isolate-*"}, append(d.claim("", 3*time.Minute, plan.AskPeople), d.gates...)...)

	d.shards(func(s Shard) (plan.StepDef, []string) {
		x := d.on(s, plan.OpFence, short)
		x.IfFails, x.Undo, x.Retry = plan.AskPeople, &plan.Undo{}, plan.Retry{Attempts: 3, Backoff: time.Second, Longest: 5 * time.Second}
		x.With = plan.Args{Fence: &plan.Fence{By: d.p.Fence, Hook: d.p.Hook}}

		return x, away
	})

	d.fill()

	sec := SectionTakeover
	d.promotion(sec, "fence-*", "feed-*", "restore-*")

	for _, s := range d.Shards {
		if !s.Kind.Traits().Gate { // the others know no prepared transactions
			continue
		}
		x := d.on(s, plan.OpResolve, short)
		x.Section, x.Retry, x.With = sec, plan.Retry{Attempts: 3, Backoff: 100 * time.Millisecond}, plan.Args{Resolve: &plan.Resolve{Rule: d.rule()}}
		d.add(x, "promote-*")
	}

	d.release(sec)
}

// rule is what becomes of prepared transactions. A recovery from the vault has applied the
// rule already, at its moment.
func (d *deriving) rule() string {
	if d.p.Choice == plan.Proven {
		return plan.ResolveList
	}

	return d.p.Resolve
}

// moved are the shards that are laid down from the vault at one moment.
func (d *deriving) moved() (out []Shard) {
	for _, s := range d.Shards {
		if s.log() && d.anew(s, d.p, d.mode) {
			out = append(out, s)
		}
	}

	return out
}

// foresee finds the moment of a proven recovery, and whether each shard has room for it,
// while nothing is touched yet.
func (d *deriving) foresee() {
	all := d.moved()
	if len(all) == 0 {
		return
	}

	d.precheck(plan.StepDef{ID: "moment", Region: d.p.To}, plan.CheckMoment, 0, "vault")
	last := &d.steps[len(d.steps)-1]
	last.Limit = foreseeing

	for _, s := range all {
		d.precheck(plan.StepDef{ID: "place-" + s.ID.String(), On: s.ID, Kind: s.Kind, Region: d.p.To, Host: s.into(d.p).Host, Into: s.into(d.p)}, plan.CheckPlace, 0, "moment")
	}
}

// bind settles the moment. The old side writes no more, so that there will be no newer one.
func (d *deriving) bind() {
	if len(d.moved()) == 0 {
		return
	}

	d.precheck(plan.StepDef{ID: "bind", Region: d.p.To}, plan.BindMoment, 0, append([]string{"fence-*"}, d.gates...)...)
	last := &d.steps[len(d.steps)-1]
	last.Limit, last.IfFails = foreseeing, plan.AskPeople
}

// fill gives the new side what it lacks: a feed where there is a standby, else all.
func (d *deriving) fill() {
	d.bind()

	for _, s := range d.Shards {
		switch {
		case d.anew(s, d.p, d.mode):
			x := d.on(s, plan.OpRestore, longest)
			x.IfFails, x.Into, x.Modes = plan.AskPeople, s.into(d.p), nil
			x.Host = x.Into.Host

			if s.log() { // what is moved aside for it comes back
				x.Undo, x.Modes = &plan.Undo{}, rehearsed()
			}

			d.add(x, append([]string{"bind", "fence-*"}, d.gates...)...)
		case s.log():
			x := d.on(s, plan.OpFeed, long)
			x.Host = s.Hosts[d.p.To]
			x.IfFails, x.Retry, x.With = plan.AskPeople, plan.Retry{Attempts: 5, Backoff: time.Second, Longest: 10 * time.Second}, plan.Args{Feed: &plan.Feed{Vault: d.p.To}}
			d.add(x, "fence-"+s.ID.String())
		}
	}
}

// comeBack makes the instances of the region that was left stand by again.
func (d *deriving) comeBack() {
	if d.p.People > 0 { // what was there is rewritten
		d.approve("approve-return")
	}

	for _, s := range d.Shards {
		x := d.on(s, plan.OpRejoin, longest)
		x.Host = s.Hosts[x.Region]
		x.With = plan.Args{Rejoin: &plan.Rejoin{By: d.p.Rejoin}}

		if s.bothSides(d.p.From, d.p.To) { // most of it is copied while clients are still on the other side
			x = d.on(s, plan.OpReconcile, longest)
			x.IfFails = plan.AskPeople
		}

		x.ID = "return-" + s.ID.String()
		d.add(x, "approve-return")
	}
}

// services come up tier by tier, each after what it stands on; then the routes
// that lead to them.
func (d *deriving) services() {
	all, _ := d.inOrder() // a circle was refused before

	for _, s := range all {
		needs := d.standsOn(s)
		last := "promote-*"

		if x, ok := d.up(s); ok {
			d.add(x, needs...)
			last = x.ID
		}

		if s.Check != nil {
			d.add(plan.StepDef{ID: "check-" + s.Name, Do: plan.OpHTTP, Service: s.Name, Region: d.p.To, Limit: short, IfFails: plan.AskPeople,
				Retry: plan.Retry{Attempts: 5, Backoff: time.Second}, With: plan.Args{HTTP: s.Check}}, append(needs, last)...)
		}
	}

	for _, r := range d.faces() {
		var behind []string
		for _, n := range r.For {
			behind = append(behind, workOf(n)...)
		}

		behind = append(behind, "promote-*")
		d.reroute([]Route{r}, plan.RouteSwitch, "", false, behind...)
		d.reroute([]Route{r}, plan.RouteRelease, "", false, "switch-"+r.Name)
	}
}

// standsOn are the steps after which a service can come up: its targets take
// writes, the services that it needs work, and the tiers below are up.
func (d *deriving) standsOn(s Service) []string {
	needs := []string{"promote-*"}

	for _, r := range d.stores() {
		needs = append(needs, "release-"+r.Name)
	}

	for _, n := range s.Needs {
		if d.service(n) >= 0 {
			needs = append(needs, workOf(n)...)
		}
	}

	for _, o := range d.Services {
		if slices.Index(tiers, o.Tier) < slices.Index(tiers, s.Tier) && !slices.Contains(s.Needs, o.Name) {
			needs = append(needs, workOf(o.Name)...)
		}
	}

	return needs
}

// workOf are the steps after which a service works.
func workOf(service string) []string {
	return []string{"up-" + service, "warm-" + service, "check-" + service}
}

// up is the step that brings a service up, if anything has to be done for it.
func (d *deriving) up(s Service) (plan.StepDef, bool) {
	x := plan.StepDef{ID: "up-" + s.Name, Service: s.Name, Region: d.p.To, Limit: long, IfFails: plan.AskPeople, Modes: rehearsed(), With: s.Up}

	switch {
	case s.Up.Warm != nil:
		x.ID, x.Do, x.IfFails = "warm-"+s.Name, plan.OpWarm, plan.GoOn // a cold cache is slow, not wrong
	case s.Up.Exec != nil:
		x.Do = plan.OpExec
	case s.Up.HTTP != nil:
		x.Do = plan.OpHTTP
	case s.Up.Manual != nil:
		x.Do = plan.OpManual
	default:
		return x, false
	}

	return x, true
}

// afterwards: what was recovered is verified, the old side stands by again where it
// can, and people are told.
func (d *deriving) afterwards() {
	done := []string{"release-*", "promote-*"}

	for _, s := range d.Shards {
		x := d.on(s, plan.OpVerify, longest)
		x.IfFails, x.Modes = plan.GoOn, nil
		d.add(x, done...)
	}

	if d.mode != plan.ModeFailover {
		for _, s := range d.Shards {
			x := d.on(s, plan.OpRejoin, longest)
			x.Region, x.Host, x.IfFails, x.With = d.p.From, s.Hosts[d.p.From], plan.GoOn, plan.Args{Rejoin: &plan.Rejoin{By: d.p.Rejoin}}

			if d.mode == plan.ModeFailback && s.bothSides(d.p.From, d.p.To) { // what was written until clients left
				x = d.on(s, plan.OpReconcile, longest)
				x.IfFails = plan.GoOn
			}

			d.add(x, done...)
		}
	}

	if d.mode == plan.ModeFailback { // one of the two vaults may have been away
		d.add(plan.StepDef{ID: "merge-vaults", Do: plan.OpMerge, Region: d.p.To, Limit: longest, IfFails: plan.GoOn, Modes: rehearsed(),
			Retry: plan.Retry{Attempts: 3, Backoff: time.Minute}}, done...)
	}

	d.add(plan.StepDef{ID: "tell", Do: plan.OpNotify, Limit: short, IfFails: plan.GoOn, Modes: rehearsed(), Retry: plan.Retry{Attempts: 3, Backoff: time.Second},
		With: plan.Args{Notify: &plan.Notify{Text: d.Group + " is in " + d.p.To + " (" + string(d.mode) + ")", To: d.p.Tell}}}, done...)
}
