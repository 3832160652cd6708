package traffic

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/human"
)

// Move says from where to where clients are moved.
type Move struct {
	From string `json:"from"`
	To   string `json:"to"`
	// Lost: nothing in From can be reached.
	Lost bool `json:"lost,omitempty"`
}

// Plan is what is done with which routes, by name. The order is Hold, Isolate (both
// before a promotion), Point (after it), Release.
type Plan struct {
	Move Move `json:"move"`
	// Read are those whose state is read and written down before all else.
	Read    []string `json:"read"`
	Hold    []string `json:"hold"`
	Isolate []string `json:"isolate"`
	Point   []string `json:"point"`
	Release []string `json:"release"`
	// Left are those that are not touched.
	Left []Left `json:"left,omitempty"`
	// Warnings are for whoever approves.
	Warnings []string `json:"warnings,omitempty"`
}

// Left is a route that is not touched, and why.
type Left struct {
	Route string `json:"route"`
	Why   string `json:"why"`
}

// Planned is a route and what it can do.
type Planned struct {
	Route Route
	Can   Abilities
}

// Planned lists what a plan is made of.
func (s Set) Planned() []Planned {
	out := make([]Planned, 0, len(s))
	for _, b := range s {
		out = append(out, Planned{b.Route, b.Driver.Can()})
	}

	return out
}

// MakePlan plans a move. A planned one holds what can be held and cuts off by force
// only where clients stay connected to servers; one out of a lost region waits for nobody: it
// cuts off all that can be cut off, and leaves what stands in the region. A route
// that would have to be pointed and has no backend in the new region is
// fail.Invalid: it would lead to the old one for ever.
func MakePlan(routes []Planned, m Move) (Plan, error) {
	const op = "traffic: plan"
	if m.From == m.To {
		return Plan{}, fail.New(fail.Invalid, op, m.To, "name two regions", errors.New("clients cannot be moved to where they are"))
	}

	p := Plan{Move: m}
	for _, r := range routes {
		name := r.Route.Name
		if m.Lost && r.Route.In == m.From {
			p.Left = append(p.Left, Left{name, "it stands in " + m.From + ", which is lost"})
			continue
		}

		if r.Can.Point && !slices.Contains(r.Route.Regions, m.To) {
			return Plan{}, UnknownRegion(op, r.Route, m.To)
		}

		p.add(r)
		p.warn(r)
	}

	p.warnUnmoved(routes)

	return p, nil
}

// add says what is done with a route.
func (p *Plan) add(r Planned) {
	name, can := r.Route.Name, r.Can
	hold := can.Hold && !p.Move.Lost
	isolate := can.Isolate && !(hold && can.Drain)

	if hold {
		p.Hold = append(p.Hold, name)
	}

	if isolate {
		p.Isolate = append(p.Isolate, name)
	}

	if can.Point {
		p.Point = append(p.Point, name)
	}

	if hold || isolate {
		p.Release = append(p.Release, name)
	}

	p.Read = append(p.Read, name)
}

func (p *Plan) warn(r Planned) {
	say := func(format string, args ...any) {
		p.Warnings = append(p.Warnings, r.Route.Name+": "+fmt.Sprintf(format, args...))
	}

	if !r.Can.Isolate && r.Can.Point {
		say("clients cannot be kept from %s here; that nobody writes there rests on the proof of silence alone", p.Move.From)
	}

	if r.Can.Lag > 0 {
		say("clients may go on to use the old address for up to %s", human.Duration(r.Can.Lag))
	}

	if !p.Move.Lost && r.Can.Point && !(r.Can.Hold && r.Can.Drain) {
		say("clients that are connected see an error and have to connect again")
	}
}

// warnUnmoved names what no route moves.
func (p *Plan) warnUnmoved(routes []Planned) {
	moved, all := map[string]bool{}, []string{}
	for _, r := range routes {
		to := r.Route.To()
		if !slices.Contains(all, to) {
			all = append(all, to)
		}

		moved[to] = moved[to] || slices.Contains(p.Point, r.Route.Name)
	}

	all = slices.DeleteFunc(all, func(to string) bool { return moved[to] })
	if len(all) > 0 {
		slices.Sort(all)
		p.Warnings = append(p.Warnings, "no route moves the clients of "+strings.Join(all, ", "))
	}
}
