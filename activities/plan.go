package activities

import (
	"context"

	"drctl/internal/engine"
	"drctl/internal/platform"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
)

// PlanRestore builds a plan from what the goal's vault holds now.
func (a *Activities) PlanRestore(ctx context.Context, in PlanIn) (plan.Run, error) {
	p, err := a.plan(ctx, in)
	return p, engine.EncodeError(err)
}

func (a *Activities) plan(ctx context.Context, in PlanIn) (plan.Run, error) {
	v, err := a.Platform.Vault(ctx, in.Goal.Vault)
	if err != nil {
		return plan.Run{}, err
	}

	var group *platform.Group
	if g, err := a.Platform.Group(in.Goal.Group); err == nil {
		group = &g
	}

	inv, err := inventory.Read(ctx, v, in.Goal, group)
	if err != nil {
		return plan.Run{}, err
	}

	p, err := recovery.Build(in.Goal, plan.ModeRestore, inv, in.Now)
	if err != nil {
		return plan.Run{}, err
	}

	return p.Warn(inventory.Unfit(ctx, a.driver, p)...), nil
}
