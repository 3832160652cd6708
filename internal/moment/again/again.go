// Package again proves the cut that a drill or a restore recovers anew, from the vault
// alone, and words the outcome as a finding of its record. A cut that was taken with
// locks has no proof in the logs: that is no failure.
package again

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
	"drctl/targets"
)

// Check is the name of the check.
const Check = "the cut is proven by the logs"

// Proven proves a cut. The error means that the vault did not tell.
func Proven(ctx context.Context, v *vault.Vault, logs map[targets.Kind]shardlog.Opener, cut *targets.Cut) (targets.Finding, error) {
	begin := time.Now()
	f := targets.Finding{Check: Check, Subject: cut.Group, Severity: targets.Passed, Expected: string(cut.Grade()), Got: string(cut.Grade())}

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
