package reconciling

import (
	"context"
	"log/slog"
	"time"

	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/parted"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/reconciliation"
)

// every is how often it is logged how far it is.
const every = 10 * time.Second

// Step does the step of a run, and returns what is said of it. Unverified when people have to look:
// the rest is done then.
func Step(ctx context.Context, p platform.Resolver, driver targets.Driver, vaults func(ctx context.Context, group, region string) (vault.Set, error), d plan.Definition, s plan.StepDef, run string, log *slog.Logger) (string, error) {
	set, err := vaults(ctx, d.Group, d.To)
	if err != nil {
		return "", err
	}

	a, err := p.Instance(ctx, s.On, d.From)
	if err != nil {
		return "", err
	}

	b, err := p.Instance(ctx, s.On, d.To)
	if err != nil {
		return "", err
	}
	told := time.Now()

	out, err := parted.Reconcile(ctx, driver, set, a, b, parted.Options{Group: d.Group, Run: run, Progress: func(r reconciliation.Result) {
		if time.Since(told) > every {
			told = time.Now()

			log.InfoContext(ctx, parted.Words(r), "run", run, "shard", s.On.String())
		}
	}})
	if err == nil {
		err = parted.Open(out, d.Group)
	}

	return parted.Words(out), err
}
