package plans

import (
	"bytes"
	"context"

	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/vault"
	"drctl/restore/choices"
	"drctl/restore/plan"
)

// Verification is what past runs and drills say of the plan. When a region is lost its vault is waited
// for no longer than its limit.
func Verification(ctx context.Context, cfg *config.Config, d plan.Definition) []byte {
	var out bytes.Buffer
	open := Vaults(cfg)

	if d.Mode == plan.ModeFailover {
		open = func(ctx context.Context, group string) (vault.Set, error) {
			ctx, stop := context.WithTimeout(ctx, choices.ServerLimit)
			defer stop()

			return configured.Answering(ctx, cfg, group)
		}
	}

	Tell(ctx, &out, open, cfg, d)

	return out.Bytes()
}
