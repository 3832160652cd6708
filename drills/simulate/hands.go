package simulate

import (
	"slices"

	"drctl/restore/plan"
)

// Bug is a mistake that is planted, to see that it is found.
type Bug string

// The bugs.
const (
	// NoProof is a fence that says that it has proof and has none.
	NoProof Bug = "no-proof"
	// FalseEnd is a feed that takes "not found" for the end of the log.
	FalseEnd Bug = "false-end"
	// LateUndo undoes behind the point of no return.
	LateUndo Bug = "late-undo"
	// EarlyReroute lets clients go before the promotion.
	EarlyReroute Bug = "early-reroute"
)

// Bugs are all of them.
var Bugs = []Bug{NoProof, FalseEnd, LateUndo, EarlyReroute}

// plant puts a bug into a plan, if it is one of plans.
func plant(d plan.Definition, b Bug) plan.Definition {
	d.Steps = slices.Clone(d.Steps)

	for i := range d.Steps {
		s := &d.Steps[i]

		switch {
		case b == LateUndo:
			s.NoReturn = false
		case b == EarlyReroute && s.With.Reroute != nil && s.With.Reroute.Move == plan.RouteSwitch:
			s.Needs = slices.DeleteFunc(slices.Clone(s.Needs), func(n string) bool { return n == "promote-*" || n == "follow-*" || n == "resolve-*" })
		}
	}

	return d
}

// did is how an attempt went.
type did struct {
	failed    bool
	untouched bool
}

// do is an attempt of a step: what it does to the stores, or not, and what it says
// of that. A step that failed may have done everything but say so.
func (w *world) do(s plan.StepDef, rehearse bool) did {
	if rehearse {
		return did{failed: w.chance(w.rough), untouched: true}
	}

	if w.chance(w.rough) {
		return w.fault(s)
	}

	ok := w.act(s)
	w.watch()
	w.note("%s: %t", s.ID, ok)

	return did{failed: !ok}
}

// fault is an attempt that goes wrong: before anything was done, or after all of
// it was.
func (w *world) fault(s plan.StepDef) did {
	w.faults++

	if w.rng.IntN(2) == 0 {
		w.note("%s: fails, nothing done", s.ID)
		return did{failed: true, untouched: w.rng.IntN(2) == 0 && !s.NoReturn && !w.did[s.ID]}
	}
	w.did[s.ID] = true

	ok := w.act(s)
	w.watch()
	w.note("%s: done (%t), and the answer is lost", s.ID, ok)

	return did{failed: true}
}

// act changes the stores as a step does, and reports whether it could.
func (w *world) act(s plan.StepDef) bool {
	x := w.shard(s.On)

	switch s.Do {
	case plan.OpReroute:
		return w.reroute(s.With.Reroute)
	case plan.OpClaim:
		// One run plays alone; what the claim does to guards is part of their fence.
	case plan.OpFence:
		return x != nil && w.fence(x, s.With.Fence)
	case plan.OpDrain:
		if x == nil || !x.log {
			return true
		}

		if x.old.writes {
			return false // it never ends
		}
		x.new.end = max(x.new.end, x.old.end)
	case plan.OpFeed:
		return x == nil || w.feed(x)
	case plan.OpRestore:
		if x != nil { // as far as the chosen moment, which is what was agreed to
			if !x.laid {
				x.stood = x.new.end
			}
			x.new.end, x.accepted, x.laid = min(x.stood, x.vault), true, true
		}
	case plan.OpPromote:
		w.promote(x)
	}

	return true
}

func (w *world) reroute(r *plan.Reroute) bool {
	x := w.route(r.Route)
	if x == nil {
		return false
	}

	switch r.Move {
	case plan.RouteHold, plan.RouteIsolate:
		x.open = false
	case plan.RouteSwitch:
		x.toNew = true
	case plan.RouteRelease:
		x.open = true
	}

	w.let(x)

	return true
}

// let looks whom the clients of a route find.
func (w *world) let(x *route) {
	if !x.open || !x.toNew {
		return
	}

	for _, k := range x.to {
		if s := &w.shards[k]; s.log && !s.new.writes {
			w.violated("clients of %s are let go to %s, which takes no writes", x.name, s.id)
		}
	}
}

// fence silences the old side by the first way that does.
func (w *world) fence(x *shard, f *plan.Fence) bool {
	for _, by := range f.By {
		switch by {
		case plan.ByStop:
			if !x.old.alive {
				continue
			}
			x.old.alive, x.old.writes = w.bug == NoProof, w.bug == NoProof && x.old.writes
		case plan.ByHook:
			if w.chance(3) {
				continue
			}
			x.old.alive, x.old.writes = false, false
		case plan.ByGuard: // the claim, and a lease later the guard has let go
			if w.bug != NoProof {
				x.claimed, x.old.writes = true, false
			}
		case plan.ByStatement:
			continue // people are asked when all else has failed
		}
		x.proof = w.bug != NoProof

		return true
	}

	return false
}

// feed reads what the vault has. What is not found now may be there later, and is
// the end only when the vault can prove it.
func (w *world) feed(x *shard) bool {
	if w.chance(6) { // the tail is not found, for now
		w.faults++

		if w.bug != FalseEnd {
			return false
		}
		x.new.end += max(0, x.vault-x.new.end) / 2

		return true
	}
	x.new.end = max(x.new.end, x.vault)

	return true
}

// promote does as it is told; what must never be is seen here.
func (w *world) promote(x *shard) {
	if x == nil || x.new.writes {
		return
	}

	if !x.proof {
		w.violated("%s is promoted without proof of silence", x.id)
	}

	if x.new.end < x.vault && !x.accepted {
		w.violated("%s is promoted without log that the vault holds", x.id)
	}

	if w.mode != plan.ModeFailover && x.new.end < x.old.end {
		w.violated("%s loses acknowledged writes in a planned switch", x.id)
	}
	x.new.writes = true
}

// undo takes a step back, and reports whether it could.
func (w *world) undo(s plan.StepDef) bool {
	if w.chance(w.rough) {
		w.faults++
		w.note("undo %s: fails", s.ID)

		return false
	}

	w.note("undo %s", s.ID)
	delete(w.did, s.ID)

	switch x := w.shard(s.On); s.Do {
	case plan.OpReroute:
		if r := w.route(s.With.Reroute.Route); r != nil {
			r.open, r.toNew = true, false
		}
	case plan.OpRestore:
		if x != nil && x.laid { // the standby that was moved aside is back
			x.new.end, x.accepted, x.laid = x.stood, false, false
		}
	case plan.OpFence:
		if x == nil {
			break
		}
		x.proof, x.claimed = false, false

		if x.before.alive { // its servers start again; a region that is gone stays so
			x.old.alive = true
		}
		x.old.writes = x.old.alive
	}

	w.watch()

	return true
}

// byHand is what a person does who skips a failed step.
func (w *world) byHand(s plan.StepDef) {
	switch x := w.shard(s.On); {
	case s.Do == plan.OpReroute:
		w.reroute(s.With.Reroute)
	case s.Do == plan.OpFeed && x != nil:
		x.accepted = true
	}
}

// vouched is whether a person who looks can say that the old side is silent, and
// makes it stay so.
func (w *world) vouched(s plan.StepDef) bool {
	x := w.shard(s.On)
	if x == nil || x.old.writes {
		return false
	}
	x.claimed, x.proof = true, true

	return true
}
