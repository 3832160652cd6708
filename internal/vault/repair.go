package vault

import (
	"context"
	"errors"
	"io"

	"drctl/internal/fail"
)

// Repair replaces what is damaged or missing in to by the copy of from, another
// vault of the same set. Each key is first proven whole in from and damaged in
// to; a key that is whole in to is left. It returns the keys that it replaced;
// what could not be repaired is named in the error. This is the one case in
// which drctl writes over anything. When it dies half-way the object is
// missing, and a repeat or a Mirror puts it back.
func Repair(ctx context.Context, from, to *Vault, keys []string) (repaired []string, err error) {
	if from == to {
		return nil, fail.New(fail.Invalid, "vault: repair", to.String(), "name another region's vault as the source", nil)
	}
	if err := sameSet(from, to); err != nil {
		return nil, err
	}
	var failed []error
	for _, key := range keys {
		done, err := repair(ctx, from, to, key)
		if err != nil {
			if ctx.Err() != nil {
				return repaired, err
			}
			failed = append(failed, err)
		} else if done {
			repaired = append(repaired, key)
		}
	}
	return repaired, errors.Join(failed...)
}

func repair(ctx context.Context, from, to *Vault, key string) (bool, error) {
	switch {
	case key == descriptorKey, key == canaryKey:
		return false, fail.New(fail.Unsupported, "vault: repair", key, "every region has its own; restore it from an older version", nil)
	case !isEncrypted(key) && !resticName(key):
		return false, fail.New(fail.Unsupported, "vault: repair", key, "only encrypted objects and content-named files can be proven whole", nil)
	}
	_, err := (&mirror{from: to}).fetchTo(ctx, key, io.Discard)
	if err == nil {
		return false, nil
	}
	missing := fail.Is(err, fail.NotFound)
	if !missing && !fail.Is(err, fail.Corrupt) {
		return false, err
	}
	sp := &spool{dir: to.opt.TempDir}
	defer sp.close()
	if _, err := (&mirror{from: from}).fetchTo(ctx, key, sp); err != nil {
		return false, err
	}
	if !missing {
		if err := to.store.Delete(ctx, key); err != nil {
			return false, err
		}
	}
	return true, sp.put(ctx, to.store, key)
}
