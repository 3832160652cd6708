package regional

import (
	"context"
	"time"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/plans"
	"drctl/restore/failover"
	"drctl/restore/plan"
	"drctl/workflows/recovery"
)

// ByItself is a failover that no person has begun, with its plan kept in the vault of the
// region that takes over. Nobody approves it: that is what the policy says.
func ByItself(ctx context.Context, p *configured.Platform, group, from, to, by string, why recovery.Cause) (recovery.In, error) {
	r := running{Wanted: plans.Wanted{Group: group, Mode: string(plan.ModeFailover), From: from, To: to}}

	d, err := r.derive(p.Config, func(p *failover.Policy) { p.People = 0 })
	if err != nil {
		return recovery.In{}, err
	}

	in, err := input(ctx, p, d, by, runID(time.Now()))
	in.Cause = &why

	return in, err
}
