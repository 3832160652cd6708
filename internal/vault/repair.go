package vault

import (
	"context"
	"errors"
	"io"
	"iter"

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
	each := func(yield func(string, error) bool) {
		for _, key := range keys {
			if !yield(key, nil) {
				return
			}
		}
	}
	return repairEach(ctx, from, to, each, true)
}

// RepairAll is Repair for every object of to that is damaged and can be proven
// whole. What is missing stays missing: retention may have removed it, and a
// Mirror copies what was not.
func RepairAll(ctx context.Context, from, to *Vault) (repaired []string, err error) {
	if err := sameSet(from, to); err != nil {
		return nil, err
	}
	each := func(yield func(string, error) bool) {
		for i, err := range to.store.List(ctx, "", "") {
			if err == nil && !provable(i.Key) {
				continue
			}
			if !yield(i.Key, err) {
				return
			}
		}
	}
	return repairEach(ctx, from, to, each, false)
}

func repairEach(ctx context.Context, from, to *Vault, keys iter.Seq2[string, error], missing bool) (repaired []string, err error) {
	var failed []error
	for key, err := range keys {
		if err != nil {
			return repaired, errors.Join(append(failed, err)...)
		}
		done, err := repair(ctx, from, to, key, missing)
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

// ownKey reports what every region has of its own.
func ownKey(key string) bool { return key == descriptorKey || key == canaryKey }

// provable reports whether a copy of the object can be proven whole and belongs
// to every region.
func provable(key string) bool { return !ownKey(key) && (isEncrypted(key) || resticName(key)) }

// repair reports whether it replaced the object; with restore, also one that is
// not there.
func repair(ctx context.Context, from, to *Vault, key string, restore bool) (bool, error) {
	switch {
	case ownKey(key):
		return false, fail.New(fail.Unsupported, "vault: repair", key, "every region has its own; restore it from an older version", nil)
	case !provable(key):
		return false, fail.New(fail.Unsupported, "vault: repair", key, "only encrypted objects and content-named files can be proven whole", nil)
	}
	_, err := (&mirror{from: to}).fetchTo(ctx, key, io.Discard)
	if err == nil {
		return false, nil
	}
	missing := fail.Is(err, fail.NotFound)
	if missing && !restore {
		return false, nil
	}
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
