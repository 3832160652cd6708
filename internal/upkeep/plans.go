package upkeep

import (
	"context"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/vault"
)

// planReports is the kind of the reports under which a vault keeps plans of
// restores, by their hash.
const planReports = "plan"

// keepPlans is how long a plan of a restore is kept at least.
const keepPlans = 30 * 24 * time.Hour

// plansUntil is the instant before which plans go: when the policy keeps neither
// the cuts nor the bases of that time, no run can use them any more.
func plansUntil(p vault.RetentionPolicy, now time.Time) time.Time {
	return now.Add(-max(keepPlans, p.KeepCuts, p.KeepBasesFor))
}

// dropPlans removes a group's plans of restores that were stored before an instant,
// and returns how many. One that cannot be read is left: whose it is cannot be told.
func dropPlans(ctx context.Context, v *vault.Vault, g platform.Group, before time.Time, dry bool) (n int, err error) {
	prefix := vault.ReportsPrefix(planReports)

	var old []string
	for i, err := range v.Store().List(ctx, prefix, "") {
		if err != nil {
			return 0, err
		}

		if id, _, _ := strings.Cut(i.Key[len(prefix):], "."); i.Modified.Before(before) && vault.ReportKey(planReports, id) == i.Key {
			old = append(old, id)
		}
	}

	for _, id := range old {
		var run struct {
			Goal struct {
				Group string `json:"group"`
			} `json:"goal"`
		}

		err := v.Report(ctx, planReports, id, &run)
		if fail.Is(err, fail.Corrupt) || fail.Is(err, fail.NotFound) || err == nil && run.Goal.Group != g.Name {
			continue
		}

		if err == nil && !dry {
			err = v.Store().Delete(ctx, vault.ReportKey(planReports, id))
		}

		if err != nil {
			return n, err
		}

		n++
	}

	return n, nil
}
