package activities

import (
	"context"
	"errors"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/vault"
)

// The kinds of the reports in a vault that activities write and status reads.
const (
	CheckReports     = "check"         // CheckOut
	AbandonedReports = "abandoned-cut" // AbandonedCut, under the id of the cut
)

// saveReport writes a report into every vault of the group's policy. One is
// enough: the vault that cannot be reached may be what the report is about.
func saveReport(ctx context.Context, p platform.Resolver, g platform.Group, kind, id string, report any) error {
	set := vault.Set{Durability: 1}
	var errs []error
	for _, r := range g.Policy.Vaults {
		v, err := p.Vault(ctx, r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		set.Vaults = append(set.Vaults, v)
	}
	if len(set.Vaults) == 0 {
		return fail.New(fail.Unavailable, "save report", kind+" "+id, "", errors.Join(errs...))
	}
	_, err := set.SaveReport(ctx, kind, id, report)
	return err
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
