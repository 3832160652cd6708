package actions

import (
	"context"

	"drctl/restore/inventory"
	"drctl/restore/plan"
)

// load reads a plan, once in the life of this process.
func (a *Activities) load(ctx context.Context, ref plan.Ref) (plan.Definition, error) {
	a.mu.Lock()
	d, ok := a.plans[ref.SHA256]
	a.mu.Unlock()

	if ok {
		return d, nil
	}

	d, err := inventory.LoadDefinition(ctx, a.Platform.Vault, ref)
	if err != nil {
		return d, err
	}

	a.mu.Lock()
	defer a.mu.Unlock()

	if a.plans == nil || len(a.plans) > 20 {
		a.plans = map[string]plan.Definition{}
	}
	a.plans[ref.SHA256] = d

	return d, nil
}
