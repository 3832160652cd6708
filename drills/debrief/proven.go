package debrief

import (
	"context"
	"fmt"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/moment"
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

	f, err := prove(ctx, v, logs, &run.Cut)

	return []targets.Finding{f}, err
}

// checkProven is the name of the check.
const checkProven = "the cut is proven by the logs"

// prove proves a cut from the vault alone, and words the outcome as a finding. A cut that was
// taken with locks has nothing in the logs: that is no failure. The error means that the vault did not tell.
func prove(ctx context.Context, v *vault.Vault, logs map[targets.Kind]shardlog.Opener, cut *targets.Cut) (targets.Finding, error) {
	begin := time.Now()
	f := targets.Finding{Check: checkProven, Subject: cut.Group, Severity: targets.Passed, Expected: string(cut.Grade()), Got: string(cut.Grade())}

	report, err := moment.Prove(ctx, v, logs, cut, nil)
	f.Took = time.Since(begin)

	switch {
	case fail.Is(err, fail.Unsupported) && cut.Proof == nil:
		f.Severity, f.Detail = targets.Skipped, "it was taken while tables were locked; there is nothing in the logs to prove"
		return f, nil
	case err != nil:
		return f, err
	case !report.Accepted:
		f.Severity, f.Got, f.Detail = targets.Failed, "not proven", human.Clean(strings.Join(report.Faults, "; "))
		return f, nil
	}

	f.Detail = fmt.Sprintf("computed anew from the vault of %s: %s of log read, %d statements checked", v.Region(), human.Bytes(int64(report.Read)), len(report.Words))

	return f, nil
}
