package readiness

import (
	"context"
	"fmt"
	"strings"
	"time"

	"drctl/internal/human"
	"drctl/internal/vault"
	"drctl/targets"
)

// drillFacts are what the vaults say of drills.
type drillFacts struct {
	// last is when the newest one of each name that left a record began.
	last map[string]time.Time
	// read says that every vault has told: then a drill without a record has never run.
	read bool
}

// drillKind is the kind of the records of drills in a vault, each drill-NAME-TIME.
const drillKind = "drill"

// askDrills lists the records of drills. The engine forgets a run after some days, and a drill may be due once a year.
func askDrills(ctx context.Context, vaults []*vault.Vault) drillFacts {
	ctx, cancel := context.WithTimeout(ctx, vaultLimit)
	defer cancel()

	out := drillFacts{last: map[string]time.Time{}, read: len(vaults) > 0}

	for _, v := range vaults {
		ids, err := v.Reports(ctx, drillKind)
		out.read = out.read && err == nil

		for _, id := range ids {
			rest, _ := strings.CutPrefix(id, drillKind+"-")
			i := strings.LastIndexByte(rest, '-')

			if at, ok := targets.ParseIDTime(rest[i+1:]); ok && i > 0 && at.After(out.last[rest[:i]]) {
				out.last[rest[:i]] = at
			}
		}
	}

	return out
}

// overdueDrill is a drill whose calendar says that it is due, and that did not come to its end: a drill that fails is
// said, and one that never ends, or never began, is as bad.
func (f Facts) overdueDrill(x Schedule) (p Problem, overdue bool) {
	if x.Kind != DrillRuns || x.Paused || x.Missing {
		return p, false
	}

	since, what := x.Newest.Ended, "last ran"
	if at := f.drills.last[x.Drill]; at.After(since) {
		since = at
	}

	if since.IsZero() && f.drills.read {
		since, what = x.Created, "has never run; it was scheduled"
	}

	// A run may begin late, and take its time.
	if since.IsZero() || f.now.Sub(since) <= x.Every+min(x.Every, x.Every/4+time.Hour) {
		return p, false
	}

	return Problem{Code: "drill-overdue", Severity: Warning, Subject: x.ID, Since: since,
		What: fmt.Sprintf("%s %s at %s, one is due every %s", x.ID, what, since.Local().Format(time.DateTime), human.Duration(x.Every))}, true
}
