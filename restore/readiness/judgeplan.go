package readiness

import (
	"context"
	"fmt"
	"time"

	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/forecast"
	"drctl/restore/history"
	"drctl/restore/plan"
)

// Failover is how a group would fail over today.
type Failover struct {
	Plan plan.Definition
	// Wanted says that somebody has decided how the group comes back in another region.
	Wanted bool
	// VerifiedFor is for how long a run or a drill counts; 0 is for ever.
	VerifiedFor time.Duration
	// Err says why there is no plan.
	Err error
}

// planFacts are what is known of it.
type planFacts struct {
	plan         plan.Definition
	verification forecast.Verification
	danger       string
	asked        bool
}

// askPlan looks for what past runs and drills say of the plan. Nobody is told of a plan that
// nobody has thought of yet.
func (s Sources) askPlan(ctx context.Context, g platform.Group, vs []vaultFacts) (out planFacts) {
	vaults := answered(vs)
	if s.Failover == nil || len(vaults) == 0 {
		return out
	}

	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()

	home := s.Failover(g.Name, "")
	past := history.Read(ctx, vault.Set{Vaults: vaults, Durability: 1}, g.Name, time.Now(), home.VerifiedFor)

	today := home
	if at := past.Region(); at != "" {
		today = s.Failover(g.Name, at)
	}

	if today.Err != nil || !today.Wanted && !past.Any() {
		return out
	}
	d := today.Plan

	return planFacts{plan: d, asked: true, verification: past.Verified(history.Ask{Plan: d.Hash(), To: d.To, Mode: d.Mode}),
		danger: forecast.Of(d, d.Mode, past.Samples(), nil, g.Policy.RTO).Danger}
}

// judgePlan says that nobody knows whether the plan of the worst day works, or that it takes too long.
func (f Facts) judgePlan() (out []Problem) {
	p := f.plan
	if !p.asked {
		return nil
	}

	subject := fmt.Sprintf("%s/%s", p.plan.Group, p.plan.Mode)
	what := fmt.Sprintf("the %s of %s from %s to %s", p.plan.Mode, p.plan.Group, p.plan.From, p.plan.To)
	see := fmt.Sprintf(" --group %s --mode %s", p.plan.Group, p.plan.Mode)

	if !p.verification.Verified {
		out = append(out, Problem{Code: "plan-unverified", Severity: Warning, Subject: subject, What: what + " is not verified", Why: p.verification.Why,
			Next: "rehearse it; see what ran with: drctl plan history" + see})
	}

	if p.danger != "" {
		out = append(out, Problem{Code: "plan-too-slow", Severity: Warning, Subject: subject, What: what + " may take too long", Why: p.danger, Next: "see which steps decide: drctl plan forecast" + see})
	}

	return out
}
