package inventory

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/sealing"
	"drctl/internal/vault"
	"drctl/restore/plan"
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

// FindCut reads a cut of a group by its id, or the newest sealed one when the id is
// plan.Latest. One that was abandoned comes with its record. When there is none of
// that id the error (fail.NotFound) says what was meant.
func FindCut(ctx context.Context, v *vault.Vault, group, id string) (targets.Cut, *AbandonedCut, error) {
	if id == plan.Latest {
		c, _, err := sealing.NewestCut(ctx, v, group)
		return c, nil, err
	}

	c, err := v.Cut(ctx, group, id)
	if !fail.Is(err, fail.NotFound) && !fail.Is(err, fail.Invalid) {
		return c, nil, err
	}

	var gone AbandonedCut
	if err := v.Report(ctx, AbandonedReports, id, &gone); err == nil && gone.Cut.Group == group {
		return gone.Cut, &gone, nil
	} else if err != nil && !fail.Is(err, fail.NotFound) && !fail.Is(err, fail.Invalid) {
		return c, nil, err
	}

	var ids []string
	for c, err := range v.CutsNewest(ctx, group) {
		if len(ids) == likely {
			break
		}

		if err == nil {
			ids = append(ids, c.ID)
		}
	}

	return targets.Cut{}, nil, fail.New(fail.NotFound, "find cut", "", cmp.Or(human.Meant(id, ids), "list them with: drctl cut list --all; the newest is: latest"),
		fmt.Errorf("there is no cut %s of %s in the vault of %s", id, group, v.Region()))
}

// likely is how many of the newest cuts somebody may have meant.
const likely = 50
