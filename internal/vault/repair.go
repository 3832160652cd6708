package vault

import (
	"context"
	"errors"
	"io"

	"drctl/internal/fail"
	"drctl/internal/spool"
)

// Repair replaces every object of to that is damaged by the copy of from,
// another vault of the same set. Each is first proven damaged in to and whole in
// from. What is missing stays missing: retention may have removed it, and a
// Mirror copies what was not. It returns the keys that it replaced; what could
// not be repaired is named in the error. This is the one case in which drctl
// writes over anything. When it dies half-way the object is missing, and a
// Mirror puts it back.
func Repair(ctx context.Context, from, to *Vault) (repaired []string, err error) {
	if err := sameSet(from, to); err != nil {
		return nil, err
	}

	var failed []error
	for i, err := range to.store.List(ctx, "", "") {
		if err != nil {
			return repaired, errors.Join(append(failed, err)...)
		}

		if !provable(i.Key) {
			continue
		}

		done, err := repair(ctx, from, to, i.Key)
		if err != nil {
			if ctx.Err() != nil {
				return repaired, err
			}
			failed = append(failed, err)
		} else if done {
			repaired = append(repaired, i.Key)
		}
	}

	return repaired, errors.Join(failed...)
}

// provable reports whether a copy of the object can be proven whole and belongs
// to every region: each has a descriptor and a canary of its own.
func provable(key string) bool {
	return key != descriptorKey && key != canaryKey && (isEncrypted(key) || resticName(key))
}

// repair reports whether it replaced the object.
func repair(ctx context.Context, from, to *Vault, key string) (bool, error) {
	_, err := (&mirror{from: to}).fetchTo(ctx, key, io.Discard)
	if err == nil || fail.Is(err, fail.NotFound) {
		return false, nil
	}

	if !fail.Is(err, fail.Corrupt) {
		return false, err
	}

	sp := &spool.Spool{Dir: to.opt.TempDir}
	defer sp.Close()

	if _, err := (&mirror{from: from}).fetchTo(ctx, key, sp); err != nil {
		return false, err
	}

	if err := to.store.Delete(ctx, key); err != nil {
		return false, err
	}

	return true, sp.Put(ctx, to.store, key)
}
