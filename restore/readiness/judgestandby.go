package readiness

import (
	"fmt"

	"drctl/internal/human"
	"drctl/targets"
)

// following says that a standby gets nothing, or is further behind than the group may lose.
func (f Facts) following(name string, i Instance) (out []Problem) {
	if i.err != nil || i.Status.Role != targets.Standby {
		return nil
	}

	if i.Status.Stopped != "" {
		out = append(out, Problem{Code: "standby-stopped", Severity: Warning, Subject: name, Region: i.Region, What: name + " is a standby that gets nothing", Why: i.Status.Stopped})
	}

	if rpo := f.group.Policy.RPO; rpo > 0 && i.Status.Lag > rpo {
		out = append(out, Problem{Code: "standby-behind", Severity: Warning, Subject: name, Region: i.Region, What: name + " is a standby that is far behind",
			Why:  fmt.Sprintf("it is %s behind its primary, and the group may lose %s", human.Duration(i.Status.Lag), human.Duration(rpo)),
			Next: "is its replay paused (pg_wal_replay_resume), held up by a query, or too slow?"})
	}

	return out
}
