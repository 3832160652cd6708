package inventory

import (
	"context"
	"errors"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
)

// definitionReport is the kind of report under which a vault keeps plans between
// regions, by their hash.
const definitionReport = "recovery-plan"

// SaveDefinition keeps a plan in vaults, so that the engine carries only its name. It
// may be repeated.
func SaveDefinition(ctx context.Context, set vault.Set, d plan.Definition) (plan.Ref, error) {
	ref := plan.Ref{ID: d.Group + " " + string(d.Mode), SHA256: d.Hash()}

	if _, err := set.SaveReport(ctx, definitionReport, ref.SHA256, d); err != nil {
		return ref, err
	}

	for _, v := range set.Vaults {
		ref.Vaults = append(ref.Vaults, v.Region())
	}

	return ref, nil
}

// LoadDefinition reads a plan from the first vault that has it. Nothing that a vault
// holds is believed: the plan has the hash that it is named by, or it is not returned.
func LoadDefinition(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), ref plan.Ref) (plan.Definition, error) {
	errs := make([]error, 0, len(ref.Vaults))

	for _, region := range ref.Vaults {
		d, err := loadDefinition(ctx, open, region, ref.SHA256)
		if err == nil {
			return d, nil
		}
		errs = append(errs, err)
	}

	if len(errs) == 0 {
		return plan.Definition{}, fail.Newf(fail.Invalid, "recovery plan", ref.SHA256, "no vault is named that holds the plan")
	}

	return plan.Definition{}, fail.New(fail.CodeOf(errs[0]), "recovery plan", ref.SHA256, "", errors.Join(errs...))
}

func loadDefinition(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), region, hash string) (d plan.Definition, err error) {
	v, err := open(ctx, region)
	if err != nil {
		return d, err
	}

	if err := v.Report(ctx, definitionReport, hash, &d); err != nil {
		return d, err
	}

	if d.Hash() != hash {
		return d, fail.Newf(fail.Corrupt, "recovery plan", hash, "the plan in the vault of %s is another one", region)
	}

	return d, d.Check()
}
