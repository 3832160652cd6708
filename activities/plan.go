package activities

import (
	"context"

	"drctl/internal/engine"
	"drctl/internal/platform"
	"drctl/restore"
	"drctl/restore/inventory"
)

// PlanRestore builds a plan from what the goal's vault holds now.
func (a *Activities) PlanRestore(ctx context.Context, in PlanIn) (restore.Plan, error) {
	p, err := a.plan(ctx, in)
	return p, engine.EncodeError(err)
}

func (a *Activities) plan(ctx context.Context, in PlanIn) (restore.Plan, error) {
	v, err := a.Platform.Vault(ctx, in.Goal.Vault)
	if err != nil {
		return restore.Plan{}, err
	}
	var group *platform.Group
	if g, err := a.Platform.Group(in.Goal.Group); err == nil {
		group = &g
	}
	inv, err := inventory.Read(ctx, v, in.Goal, group)
	if err != nil {
		return restore.Plan{}, err
	}
	p, err := restore.Build(in.Goal, inv, in.Now)
	if err != nil {
		return restore.Plan{}, err
	}
	return p.Warn(inventory.Unfit(ctx, a.driver, p)...), nil
}
