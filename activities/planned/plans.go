package planned

import (
	"context"
	"sync"

	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
)

// Plans keeps those that were read. The zero value is ready.
type Plans struct {
	mu    sync.Mutex
	plans map[string]plan.Definition // by hash
}

// Load reads a plan, once in the life of this process.
func (p *Plans) Load(ctx context.Context, open func(ctx context.Context, region string) (*vault.Vault, error), ref plan.Ref) (plan.Definition, error) {
	p.mu.Lock()
	d, ok := p.plans[ref.SHA256]
	p.mu.Unlock()

	if ok {
		return d, nil
	}

	d, err := inventory.LoadDefinition(ctx, open, ref)
	if err != nil {
		return d, err
	}

	p.mu.Lock()
	defer p.mu.Unlock()

	if p.plans == nil || len(p.plans) > 20 {
		p.plans = map[string]plan.Definition{}
	}
	p.plans[ref.SHA256] = d

	return d, nil
}
