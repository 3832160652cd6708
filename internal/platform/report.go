package platform

import (
	"context"
	"errors"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// SaveReport writes a report into every vault of the group's policy. One is
// enough: the vault that cannot be reached may be what the report is about.
func SaveReport(ctx context.Context, r Resolver, g Group, kind, id string, report any) error {
	set := vault.Set{Durability: 1}

	var errs []error
	for _, region := range g.Policy.Vaults {
		v, err := r.Vault(ctx, region)
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
