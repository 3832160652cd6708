package vault

import (
	"context"
	"errors"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// metaAsOf is the header of a manifest that says which instant it holds. The
// name of a manifest says when it was stored, which for a large bucket may be
// hours later.
const metaAsOf = "as_of"

// StoredManifest is an object snapshot in a vault.
type StoredManifest struct {
	SHA256 string
	Stored time.Time
	// AsOf is the instant whose state it holds, by the clock of whoever asked for
	// it; zero when the manifest is of a version of drctl that did not keep it.
	AsOf time.Time
}

// headersAround bounds how many manifests are looked into on either side of an
// instant. More than one, because a long snapshot is stored after shorter ones
// that were begun later.
const headersAround = 8

// ManifestsAround returns the manifests of a shard that may hold the newest
// state at or before the instant: some of those stored last by then, and of
// those stored later the ones that were begun by then. Its cost does not grow
// with what is kept before the instant. Damaged ones are passed over: an error
// of code corrupt names them, and the others are there.
func (v *Vault) ManifestsAround(ctx context.Context, id targets.ShardID, at time.Time) ([]StoredManifest, error) {
	for _, back := range []time.Duration{time.Hour, 48 * time.Hour, 0} {
		after := ""
		if back > 0 {
			after = ManifestsPrefix(id) + msName(at.Add(-back))
		}

		found, err := v.manifestsFrom(ctx, id, after, at)
		if err != nil && !fail.Is(err, fail.Corrupt) || back == 0 || anyBegunSince(found, at.Add(-back)) {
			return found, err
		}
	}

	return nil, nil
}

// anyBegunSince reports whether one holds a state of the time or later: then
// none that was stored before it can hold a newer one.
func anyBegunSince(ms []StoredManifest, t time.Time) bool {
	return slices.ContainsFunc(ms, func(m StoredManifest) bool { return !m.AsOf.Before(t) })
}

// manifestsFrom looks at the manifests whose names sort after a key.
func (v *Vault) manifestsFrom(ctx context.Context, id targets.ShardID, after string, at time.Time) ([]StoredManifest, error) {
	var early []string // the last ones stored by the instant
	later, out := 0, []StoredManifest(nil)
	var damaged []error

	look := func(key string, wanted func(StoredManifest) bool) error {
		m, err := v.manifestHeader(ctx, key)
		switch {
		case fail.Is(err, fail.Corrupt):
			damaged = append(damaged, err)
			return nil
		case err == nil && wanted(m):
			out = append(out, m)
		}

		return err
	}

	for i, err := range v.store.List(ctx, ManifestsPrefix(id), after) {
		if err != nil {
			return nil, err
		}

		_, stored, _, ok := ParseManifestKey(i.Key)
		if !ok {
			continue
		}

		if !stored.After(at) {
			early = append(early, i.Key)
			if len(early) > headersAround {
				early = early[1:]
			}

			continue
		}

		if later == headersAround {
			break
		}

		err := look(i.Key, func(m StoredManifest) bool {
			later++
			return !m.AsOf.IsZero() && !m.AsOf.After(at)
		})
		if err != nil {
			return nil, err
		}
	}

	for _, key := range early {
		if err := look(key, func(StoredManifest) bool { return true }); err != nil {
			return nil, err
		}
	}

	return out, errors.Join(damaged...)
}

// manifestHeader reads what a manifest says of itself, without its content.
func (v *Vault) manifestHeader(ctx context.Context, key string) (StoredManifest, error) {
	_, stored, sha, _ := ParseManifestKey(key)
	m := StoredManifest{SHA256: sha, Stored: stored}

	r, meta, err := v.Decrypt(ctx, key)
	if err != nil {
		return m, err
	}
	defer r.Close()

	if t, err := time.Parse(time.RFC3339Nano, meta[metaAsOf]); err == nil {
		m.AsOf = t.UTC()
	}

	return m, nil
}
