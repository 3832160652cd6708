package inventory

import (
	"context"
	"errors"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// AbandonedReports is the kind of the reports of abandoned cuts in a vault: each
// is an AbandonedCut, under the id of the cut.
const AbandonedReports = "abandoned-cut"

// AbandonedCut is the record of a cut that could not be sealed in time.
type AbandonedCut struct {
	Cut         targets.Cut `json:"cut"`
	Reason      string      `json:"reason"`
	AbandonedAt time.Time   `json:"abandoned_at"`
	Run         string      `json:"run"`
}

// Abandoned lists the cuts of a group that were abandoned after the cut of the
// given id ("" is all), oldest first. A damaged report does not hide the others:
// the good ones come with an error that names the bad.
func Abandoned(ctx context.Context, v *vault.Vault, group, after string) ([]AbandonedCut, error) {
	ids, err := v.ReportsAfter(ctx, AbandonedReports, after)
	if err != nil {
		return nil, err
	}
	var out []AbandonedCut

	var bad []error
	for _, id := range ids {
		var x AbandonedCut
		if err := v.Report(ctx, AbandonedReports, id, &x); fail.Is(err, fail.Corrupt) {
			bad = append(bad, err)
			continue
		} else if err != nil {
			return out, err
		}

		if x.Cut.Group == group {
			out = append(out, x)
		}
	}

	return out, errors.Join(bad...)
}
