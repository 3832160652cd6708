package activities

import (
	"context"
	"errors"
	"slices"
	"strings"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// The kinds of the reports in a vault that activities write and status reads.
const (
	CheckReports     = "check"         // CheckOut
	AbandonedReports = "abandoned-cut" // AbandonedCut, under the id of the cut
)

// saveReport writes a report into every vault of the group's policy. One is
// enough: the vault that cannot be reached may be what the report is about.
func saveReport(ctx context.Context, p Platform, g Group, kind, id string, report any) error {
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

// SaveCheck keeps the outcome of a check where status finds it.
func SaveCheck(ctx context.Context, p Platform, g Group, out CheckOut) error {
	return saveReport(ctx, p, g, CheckReports, out.Started.UTC().Format("20060102T150405.000Z")+checkSuffix(g.Name, out.Region), out)
}

func checkSuffix(group, region string) string { return "-" + group + "-" + region }

// NewestCheck reads the newest report that a vault has of the check of a
// region's vault; not-found when there is none.
func NewestCheck(ctx context.Context, v *vault.Vault, group, region string) (CheckOut, error) {
	ids, err := v.Reports(ctx, CheckReports)
	if err != nil {
		return CheckOut{}, err
	}
	for _, id := range slices.Backward(ids) {
		if !strings.HasSuffix(id, checkSuffix(group, region)) {
			continue
		}
		var out CheckOut
		if err := v.Report(ctx, CheckReports, id, &out); err != nil {
			return CheckOut{}, err
		}
		if out.Group == group && out.Region == region {
			return out, nil
		}
	}
	return CheckOut{}, fail.Newf(fail.NotFound, "report of a check", group+" in "+region, "the vault of %s has none", v.Region())
}

// Abandoned lists the cuts of a group that were abandoned after the cut of the
// given id ("" is all), oldest first.
func Abandoned(ctx context.Context, v *vault.Vault, group, after string) ([]AbandonedCut, error) {
	ids, err := v.Reports(ctx, AbandonedReports)
	if err != nil {
		return nil, err
	}
	var out []AbandonedCut
	for _, id := range ids {
		if id <= after {
			continue
		}
		var x AbandonedCut
		if err := v.Report(ctx, AbandonedReports, id, &x); err != nil {
			return out, err
		}
		if x.Cut.Group == group {
			out = append(out, x)
		}
	}
	return out, nil
}

// failures counts the findings that say that something is wrong.
func failures(fs []targets.Finding) (n int) {
	for _, f := range fs {
		if f.Severity == targets.Failed {
			n++
		}
	}
	return n
}
