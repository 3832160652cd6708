package regional

import (
	"context"
	"errors"
	"io"
	"time"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/plans"
	"drctl/config"
	"drctl/internal/approval"
	"drctl/internal/fail"
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

// Derive is the plan of a recovery that a command would run, which has passed its lint. fence is
// its program as --fence names it; nil leaves that to the configuration.
func Derive(cfg *config.Config, w plans.Wanted, fence []string) (plan.Definition, error) {
	return running{Wanted: w, hook: fence}.derive(cfg, nil)
}

// Signed is a person's signature of a subject, as drctl recovery approve makes it: with the key (""
// is ~/.ssh/id_ed25519), as the approver of the group whose key it is unless as names one.
func Signed(ctx context.Context, cfg *config.Config, group, key, as string, length time.Duration, s approval.Subject, tell io.Writer) (*approval.Approval, error) {
	p, err := approving{key: key, as: as}.pen(cfg, group)
	if err == nil && p == nil {
		err = fail.New(fail.Denied, opApprove, group, "name people in recovery."+group+".approvers", errors.New("the configuration names nobody whose signature counts"))
	}

	if err != nil {
		return nil, err
	}

	return p.sign(ctx, s, length, tell)
}
