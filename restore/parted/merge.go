package parted

import (
	"context"
	"errors"
	"fmt"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/vault"
)

// Merge gives each of two regions' vaults what only the other has: bases, log, objects, cuts and records.
// It is a union in both directions. Nothing is overwritten or deleted, and every object is proven before it is
// stored. It may be repeated, and goes on where it was broken off. What is damaged in one vault, and what has one
// name and two contents, is named in the error, corrupt or conflict, when the rest is done. progress may be nil.
func Merge(ctx context.Context, open func(context.Context, string) (*vault.Vault, error), a, b string, progress func(to string, done, total int64)) (string, error) {
	sides := [2]*vault.Vault{}

	for i, region := range []string{a, b} {
		v, err := open(ctx, region)
		if err != nil {
			return "", err
		}
		sides[i] = v
	}

	apart, err := differ(ctx, sides[0], sides[1])
	if err != nil && !lasting(err) {
		return "", err
	}

	said, found := "", []error{err}

	for _, way := range [][2]*vault.Vault{{sides[0], sides[1]}, {sides[1], sides[0]}} {
		from, to := way[0], way[1]
		opt := vault.MirrorOptions{HoldBack: apart}

		if progress != nil {
			opt.Progress = func(done, total int64) { progress(to.Region(), done, total) }
		}

		st, err := vault.Mirror(ctx, from, to, "", opt)
		if err != nil && !lasting(err) {
			return said, errors.Join(append(found, err)...)
		}
		found = append(found, err)

		if said != "" {
			said += "; "
		}
		said += fmt.Sprintf("%d objects (%s) to the vault of %s", st.Copied, human.Bytes(st.Bytes), to.Region())
	}

	return said, errors.Join(found...)
}

// lasting reports whether an error is of what the vaults hold. It does not keep the rest from being merged.
func lasting(err error) bool { return fail.Is(err, fail.Corrupt) || fail.Is(err, fail.Conflict) }
