package debrief

import (
	"context"

	"drctl/internal/moment/again"
	"drctl/internal/proof/shardlog"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// Proven proves the cut of a plan again, from the vault that it is recovered from. Without
// anything that reads logs there is no finding.
func Proven(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), logs map[targets.Kind]shardlog.Opener, run plan.Run) ([]targets.Finding, error) {
	if logs == nil || run.Cut.ID == "" {
		return nil, nil
	}

	v, err := open(ctx, run.Goal.Vault)
	if err != nil {
		return nil, err
	}

	f, err := again.Proven(ctx, v, logs, &run.Cut)

	return []targets.Finding{f}, err
}
