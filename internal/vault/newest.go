package vault

import (
	"context"
	"iter"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// CutsNewest reads the sealed cuts of a group, newest first by id, as far as
// the caller goes: the newest one costs one listing of the last names and one
// object, however many are kept. A damaged record comes as an error of code
// corrupt and the older ones follow; any other error is the last.
func (v *Vault) CutsNewest(ctx context.Context, group string) iter.Seq2[targets.Cut, error] {
	keys := v.byTime(ctx, CutsPrefix(group), func(k string) bool { _, _, ok := ParseCutKey(k); return ok })
	return readNewest(ctx, v, keys, v.checkCut)
}

// BasesNewest reads the bases of a shard, newest first by id, as far as the
// caller goes; errors as in CutsNewest.
func (v *Vault) BasesNewest(ctx context.Context, shard targets.ShardID) iter.Seq2[targets.Artifact, error] {
	return readNewest(ctx, v, func(yield func(string, error) bool) {
		keys, err := v.keys(ctx, BasesPrefix(shard), "", func(k string) bool { _, _, ok := ParseBaseRecordKey(k); return ok })
		if err != nil {
			yield("", err)
			return
		}

		for _, k := range slices.Backward(keys) {
			if !yield(k, nil) {
				return
			}
		}
	}, v.checkBase)
}

// byTime yields the keys under a prefix backwards, the names after which begin
// with a time. No store lists backwards: it looks at the last minutes, then at
// ever longer spans before them.
func (v *Vault) byTime(ctx context.Context, prefix string, match func(string) bool) iter.Seq2[string, error] {
	return func(yield func(string, error) bool) {
		now, end := v.opt.Now(), ""
		for span := 10 * time.Minute; ; span *= 4 {
			after := prefix + targets.IDTime(now.Add(-span))
			if span > maxIDAge {
				after = ""
			}

			var keys []string
			for i, err := range v.store.List(ctx, prefix, after) {
				if err != nil {
					yield("", err)
					return
				}

				if end != "" && i.Key > end {
					break
				}

				if match(i.Key) {
					keys = append(keys, i.Key)
				}
			}

			for _, k := range slices.Backward(keys) {
				if !yield(k, nil) {
					return
				}
			}

			if after == "" {
				return
			}
			end = after
		}
	}
}

// maxIDAge is older than anything that is looked for in steps.
const maxIDAge = 400 * 24 * time.Hour

func readNewest[T any](ctx context.Context, v *Vault, keys iter.Seq2[string, error], check func(string, T) error) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		for key, err := range keys {
			var x T
			if err == nil {
				x, err = readRecord(ctx, v, key, check)
			}

			if fail.Is(err, fail.NotFound) {
				continue // removed since the listing
			}

			if !yield(x, err) || err != nil && !fail.Is(err, fail.Corrupt) {
				return
			}
		}
	}
}
