package readiness

import (
	"context"

	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/vault"
	"drctl/restore/runs"
)

// askGlass lists the recoveries that went on without approvals and were not reviewed. What
// vaults do not tell is told by the problems of the vaults.
func askGlass(ctx context.Context, g platform.Group, vs []vaultFacts) (open []runs.Glass) {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()

	var set vault.Set
	for _, f := range vs {
		if f.v != nil && f.err == nil && !f.late {
			set.Vaults = append(set.Vaults, f.v)
		}
	}

	all, _ := runs.Broken(ctx, set, g.Name)
	for _, x := range all {
		if x.Review == nil {
			open = append(open, x)
		}
	}

	return open
}

// judgeGlass has people look at each of them.
func (f Facts) judgeGlass() (out []Problem) {
	for _, x := range f.glass {
		out = append(out, Problem{Code: "glass-broken", Severity: Warning, Subject: x.ID, What: "a " + string(x.Mode) + " of " + x.Group + " went on without the approvals that are wanted",
			Since: x.At, Why: human.Clean(x.By + ": " + x.Reason), Next: "look at it, then: drctl recovery review " + x.ID + " --group " + x.Group + " --note ..."})
	}

	return out
}
