package plans

import (
	"errors"
	"fmt"

	"drctl/config"
	"drctl/restore/choices"
	"drctl/restore/failover"
	"drctl/restore/plan"
)

// Both asks for what is foreseen of both ways of a failover. d is the plan that is shown, or that
// runs; the other one is derived as it was, with the other choice.
func (s Wanted) Both(cfg *config.Config, d plan.Definition, edit func(*failover.Policy)) choices.Ask {
	a := choices.Ask{Group: d.Group, From: d.From, To: d.To, Taken: d.Choice, Verified: VerifiedFor(cfg, d.Group)}
	a.Default, a.Why = chosen(cfg, d.Group)

	for _, c := range []plan.Choice{plan.Newest, plan.Proven} {
		p := choices.Plan{Choice: c, Definition: d}

		if c != d.Choice {
			var t failover.Topology

			s.Choice = string(c)
			p.Definition, t, p.Err = s.Plan(cfg, edit)

			if p.Err == nil {
				p.Err = refused(failover.Lint(p.Definition, t))
			}
		}

		a.Plans = append(a.Plans, p)
	}

	return a
}

// refused is the first thing for which a plan must not run.
func refused(found []failover.Problem) error {
	for _, p := range found {
		if p.Error {
			return errors.New(p.Step + ": " + p.Text)
		}
	}

	return nil
}

// chosen is the choice of a group that is taken when nobody says so, and why.
func chosen(cfg *config.Config, group string) (plan.Choice, string) {
	r := cfg.Recovery[group]
	if r == nil || r.Choice == "" {
		return plan.Newest, fmt.Sprintf("the configuration has no recovery.%s.choice", group)
	}

	why := fmt.Sprintf("recovery.%s.choice is %s", group, r.Choice)
	if plan.Choice(r.Choice) == plan.Newest {
		why += ", as it is when it is left out"
	}

	return plan.Choice(r.Choice), why
}
