package parted

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/restore/runs"
	"drctl/targets"
)

// differ finds what two vaults have under one name that is not the same: nothing in its name says so.
// Two servers that were promoted from one log write two timelines of one name, whose chunks must never
// lie in one vault; apart are their shards. The error names all of it, and what cannot be read.
func differ(ctx context.Context, a, b *vault.Vault) (apart []targets.ShardID, err error) {
	inA, errA := a.Shards(ctx)
	inB, errB := b.Shards(ctx)

	if err := errors.Join(errA, errB); err != nil {
		return nil, err
	}

	var found []error

	for _, s := range inA {
		if !slices.Contains(inB, s) {
			continue
		}

		if err := sameTimelines(ctx, a, b, s); err != nil {
			apart, found = append(apart, s), append(found, err)
		}
	}

	return apart, errors.Join(append(found, samePromotions(ctx, a, b))...)
}

// sameTimelines holds the records of a shard's timelines against each other that both vaults have.
func sameTimelines(ctx context.Context, a, b *vault.Vault, s targets.ShardID) error {
	inA, errA := a.Store().Folders(ctx, vault.StreamPrefix(s))
	inB, errB := b.Store().Folders(ctx, vault.StreamPrefix(s))

	if err := errors.Join(errA, errB); err != nil {
		return err
	}

	var found []error

	for _, id := range inA {
		if !slices.Contains(inB, id) {
			continue
		}
		x, errX := origin(ctx, a, s, id)
		y, errY := origin(ctx, b, s, id)

		switch err := errors.Join(errX, errY); {
		case fail.Is(errX, fail.NotFound) || fail.Is(errY, fail.NotFound): // nobody knows where it begins
		case err != nil:
			found = append(found, err)
		case !sameOrigin(x, y):
			found = append(found, fail.New(fail.Conflict, "vault: merge", s.String(), "two servers were promoted from one log; keep the two vaults as they are until nobody needs the history of one of them",
				fmt.Errorf("timeline %s is one history in %s (from %d) and another in %s (from %d): nothing of %s is copied", id, a.Region(), x.Offset, b.Region(), y.Offset, s)))
		}
	}

	return errors.Join(found...)
}

func origin(ctx context.Context, v *vault.Vault, s targets.ShardID, id string) (timeline.Record, error) {
	key := vault.OriginKey(s, id)

	raw, _, err := v.ReadEncrypted(ctx, key)
	if err != nil {
		return timeline.Record{}, err
	}

	r, err := timeline.DecodeRecord(raw, id)
	if err != nil {
		err = fail.New(fail.Corrupt, "vault: merge", v.String()+" "+key, "repair it from another region's vault", err)
	}

	return r, err
}

// sameOrigin reports whether two records are of one timeline. When it was first seen may differ.
func sameOrigin(x, y timeline.Record) bool {
	history := len(x.History) == 0 || len(y.History) == 0 || bytes.Equal(x.History, y.History)

	return x.Kind == y.Kind && x.Offset == y.Offset && x.Parent.Timeline == y.Parent.Timeline && x.Parent.Offset == y.Parent.Offset && history
}

// samePromotions holds the runs of all groups against each other: each vault counts for itself.
func samePromotions(ctx context.Context, a, b *vault.Vault) error {
	inA, errA := a.Groups(ctx)
	inB, errB := b.Groups(ctx)
	found := []error{errA, errB}

	for _, group := range inA {
		if !slices.Contains(inB, group) {
			continue
		}

		of := map[uint64]string{}

		for _, v := range []*vault.Vault{a, b} {
			all, err := runs.Promotions(ctx, v, group)
			found = append(found, err)

			for _, p := range all {
				if run := of[p.Epoch]; run != "" && run != p.Run {
					found = append(found, fail.New(fail.Conflict, "vault: merge", group, "see what ran: drctl plan history --group "+group,
						fmt.Errorf("epoch %d is that of run %s in %s, and of run %s in %s: both stay where they are", p.Epoch, run, a.Region(), p.Run, b.Region())))
				}
				of[p.Epoch] = p.Run
			}
		}
	}

	return errors.Join(found...)
}
