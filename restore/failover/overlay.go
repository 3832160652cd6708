package failover

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
)

// Overlay is what people say of a plan beyond what is derived: they change, drop
// and add steps. A plan with an overlay has another hash, and is linted like any.
type Overlay struct {
	Change []Change `json:"change,omitempty"`
	Drop   []Drop   `json:"drop,omitempty"`
	Add    []Added  `json:"add,omitempty"`
}

// Change is of the steps that a name means: an id, or a beginning with a star.
// What is nil or empty stays as it is.
type Change struct {
	Step    string                       `json:"step"`
	Limit   *time.Duration               `json:"limit_ns,omitempty"`
	Retry   *plan.Retry                  `json:"retry,omitempty"`
	IfFails *plan.Consequence            `json:"if_fails,omitempty"`
	Undo    *plan.Undo                   `json:"undo,omitempty"`
	With    *plan.Args                   `json:"with,omitempty"`
	Modes   map[plan.Mode]plan.Behaviour `json:"modes,omitempty"` // added to those that are there
	Needs   []string                     `json:"needs,omitempty"` // added
	Reason  string                       `json:"reason,omitempty"`
}

// Drop takes a step out; what needed it needs from then on what it needed. It
// wants a reason.
type Drop struct {
	Step   string `json:"step"`
	Reason string `json:"reason"`
}

// Added is a new step. Those that Before means need it.
type Added struct {
	plan.StepDef
	Before []string `json:"before,omitempty"`
}

// Override applies an overlay. It fails with invalid when it names a step that is
// not there, adds one that is, or drops one without a reason.
func Override(d plan.Definition, o Overlay) (plan.Definition, error) {
	d.Steps = slices.Clone(d.Steps)

	for i := range d.Steps {
		d.Steps[i].Needs = slices.Clone(d.Steps[i].Needs)
	}
	var errs []error

	for _, c := range o.Change {
		if !change(d.Steps, c) {
			errs = append(errs, fmt.Errorf("there is no step %q to change", c.Step))
		}
	}

	for _, x := range o.Drop {
		var err error
		if d.Steps, err = drop(d.Steps, x); err != nil {
			errs = append(errs, err)
		}
	}

	for _, a := range o.Add {
		if _, there := d.Step(a.ID); there {
			errs = append(errs, fmt.Errorf("there is a step %q already", a.ID))
			continue
		}

		for _, name := range a.Before {
			if !change(d.Steps, Change{Step: name, Needs: []string{a.ID}}) {
				errs = append(errs, fmt.Errorf("there is no step %q for %q to stand before", name, a.ID))
			}
		}

		d.Steps = append(d.Steps, a.StepDef)
	}

	if len(o.Change)+len(o.Drop)+len(o.Add) > 0 {
		d.Format = plan.ActionsFormat
	}

	if len(errs) == 0 {
		if err := d.Check(); err != nil {
			errs = append(errs, err)
		}
	}

	if len(errs) > 0 {
		return plan.Definition{}, fail.New(fail.Invalid, op, d.Group, "mend what the configuration says of the plan; drctl plan show lists the steps", errors.Join(errs...))
	}

	return d, nil
}

func change(steps []plan.StepDef, c Change) (found bool) {
	for i := range steps {
		s := &steps[i]
		if !plan.Means(c.Step, s.ID) {
			continue
		}
		found = true

		set(&s.Limit, c.Limit)
		set(&s.Retry, c.Retry)
		set(&s.IfFails, c.IfFails)
		set(&s.With, c.With)

		if c.Undo != nil {
			s.Undo = c.Undo
		}

		if c.Reason != "" {
			s.Reason = c.Reason
		}

		modes := map[plan.Mode]plan.Behaviour{}
		for _, from := range []map[plan.Mode]plan.Behaviour{s.Modes, c.Modes} {
			for m, b := range from {
				modes[m] = b
			}
		}

		if len(modes) > 0 {
			s.Modes = modes
		}

		for _, n := range c.Needs {
			if !slices.Contains(s.Needs, n) && n != s.ID {
				s.Needs = append(s.Needs, n)
			}
		}
	}

	return found
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func drop(steps []plan.StepDef, x Drop) ([]plan.StepDef, error) {
	i := slices.IndexFunc(steps, func(s plan.StepDef) bool { return s.ID == x.Step })
	if i < 0 {
		return steps, fmt.Errorf("there is no step %q to drop", x.Step)
	}

	if strings.TrimSpace(x.Reason) == "" {
		return steps, fmt.Errorf("step %q is dropped, and nobody says why", x.Step)
	}
	gone := steps[i]
	steps = slices.Delete(steps, i, i+1)

	for i := range steps {
		s := &steps[i]
		heir := slices.ContainsFunc(s.Needs, func(n string) bool { return plan.Means(n, gone.ID) })

		s.Needs = slices.DeleteFunc(s.Needs, func(n string) bool {
			return n == gone.ID || plan.Means(n, gone.ID) && !slices.ContainsFunc(steps, func(o plan.StepDef) bool { return plan.Means(n, o.ID) })
		})
		if heir {
			for _, n := range gone.Needs {
				if !slices.Contains(s.Needs, n) {
					s.Needs = append(s.Needs, n)
				}
			}
		}
	}

	return steps, nil
}

// Expand puts the steps of included plans where they are included: their ids get
// the including step's id and a slash before them, what needed it needs all of
// them, and those that need nothing need what it needed. A plan that is not known
// stays as it is, for Lint to find. It fails with invalid when plans include each
// other in a circle.
func Expand(d plan.Definition, known func(name string) (plan.Definition, bool)) (plan.Definition, error) {
	return expand(d, known, nil)
}

func expand(d plan.Definition, known func(string) (plan.Definition, bool), within []string) (plan.Definition, error) {
	steps := d.Steps
	d.Steps = nil
	renamed := map[string]string{}

	for _, s := range steps {
		if s.Do != plan.OpInclude {
			d.Steps = append(d.Steps, s)
			continue
		}
		name := s.With.Include.Plan

		if slices.Contains(within, name) {
			return d, fail.Newf(fail.Invalid, op, d.Group, "plan %q includes itself, by way of %v", name, within)
		}

		other, ok := known(name)
		if !ok {
			d.Steps = append(d.Steps, s)
			continue
		}

		other, err := expand(other, known, append(slices.Clone(within), name))
		if err != nil {
			return d, err
		}
		renamed[s.ID] = s.ID + "/*"

		for _, x := range other.Steps {
			x.ID = s.ID + "/" + x.ID
			needs := slices.Clone(s.Needs)

			if len(x.Needs) > 0 {
				needs = nil
			}

			for _, n := range x.Needs {
				needs = append(needs, s.ID+"/"+n)
			}
			x.Needs = needs
			d.Steps = append(d.Steps, x)
		}
	}

	for i := range d.Steps {
		d.Steps[i].Needs = slices.Clone(d.Steps[i].Needs)
		for k, n := range d.Steps[i].Needs {
			if to, ok := renamed[n]; ok {
				d.Steps[i].Needs[k] = to
			}
		}
	}

	return d, nil
}
