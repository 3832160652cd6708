package parted

import (
	"context"
	"fmt"

	"drctl/internal/human"
	"drctl/internal/vault"
)

// Merge gives each of two regions' vaults what only the other has: bases, log, objects, cuts and records.
// It is a union in both directions. Nothing is overwritten or deleted, and every object is proven before it is
// stored. It may be repeated, and goes on where it was broken off. progress may be nil.
func Merge(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), a, b string, progress func(to string, done, total int64)) (string, error) {
	sides := [2]*vault.Vault{}

	for i, region := range []string{a, b} {
		v, err := open(ctx, region)
		if err != nil {
			return "", err
		}
		sides[i] = v
	}

	said := ""

	for _, way := range [][2]*vault.Vault{{sides[0], sides[1]}, {sides[1], sides[0]}} {
		from, to := way[0], way[1]
		opt := vault.MirrorOptions{}

		if progress != nil {
			opt.Progress = func(done, total int64) { progress(to.Region(), done, total) }
		}

		st, err := vault.Mirror(ctx, from, to, "", opt)
		if err != nil {
			return said, err
		}

		if said != "" {
			said += "; "
		}
		said += fmt.Sprintf("%d objects (%s) to the vault of %s", st.Copied, human.Bytes(st.Bytes), to.Region())
	}

	return said, nil
}
