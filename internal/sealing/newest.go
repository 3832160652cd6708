package sealing

import (
	"context"
	"errors"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

// NewestCut reads the newest sealed cut of the whole group that the vault has a readable record of.
// The errors name damaged records that are newer. It is not-found when there is
// no cut that could be read.
func NewestCut(ctx context.Context, v *vault.Vault, group string) (newest targets.Cut, damaged []error, err error) {
	for c, err := range v.CutsNewest(ctx, group) {
		switch {
		case fail.Is(err, fail.Corrupt):
			damaged = append(damaged, err)
		case err != nil:
			return newest, damaged, err
		case !c.SealedAt.IsZero() && !c.Partial():
			return c, damaged, nil
		}
	}

	return newest, damaged, fail.New(fail.NotFound, "vault: newest cut", group, "take one with: drctl cut now",
		errors.Join(append(damaged, errors.New("the vault of "+v.Region()+" holds no sealed cut of the group that can be read"))...))
}
