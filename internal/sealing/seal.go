package sealing

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// Seal waits until every shard can be recovered to the cut from as many vaults
// as the set needs, and writes the cut's record into them. A cut that is sealed
// already is returned as it is. lag tells meanwhile what is waited for. Errors
// name the shard; the cut stays taken and not sealed.
func Seal(ctx context.Context, set vault.Set, cut targets.Cut, lag *Lag) (targets.Cut, error) {
	for _, v := range set.Vaults {
		vctx, cancel := context.WithTimeout(ctx, vault.Straggle)
		done, err := v.Cut(vctx, cut.Group, cut.ID)

		cancel()

		if err == nil && !done.SealedAt.IsZero() {
			cut = done
			_, err = set.SaveCut(ctx, cut) // a repeat completes the other vaults

			return cut, err
		}
	}
	cut.Shards = slices.Clone(cut.Shards)
	held := make([][]string, len(cut.Shards))
	errs := make([]error, len(cut.Shards))
	before := newestSealed{group: cut.Group}

	var wg sync.WaitGroup
	for i, p := range cut.Shards {
		wg.Go(func() {
			defer lag.done(p.Shard)

			if p.Kind.Traits().Manifest {
				held[i], errs[i] = Holders(ctx, set, p.Shard, p.Position)
				return
			}
			cut.Shards[i].Bases, errs[i] = stream.AwaitRecoverable(ctx, set, p.Shard, p.Position, before.point(p.Shard), 100*time.Millisecond,
				func(n uint64) { lag.note(p.Shard, n) })
			held[i] = slices.Sorted(maps.Keys(cut.Shards[i].Bases))
		})
	}

	wg.Wait()

	for i, err := range errs {
		if err != nil {
			hint := "is the shard's archiver running? see: drctl status"
			if fail.Is(err, fail.NotFound) {
				hint = "" // the error says itself what is missing
			}

			return cut, fail.New(fail.CodeOf(err), "cut: seal", cut.Shards[i].Shard.String(), hint, fmt.Errorf("cut %s is taken, not sealed: %w", cut.ID, err))
		}
	}

	cut.SealedIn = everywhere(held)
	if len(cut.SealedIn) < set.Need() {
		return cut, fail.Newf(fail.Unavailable, "cut: seal", cut.ID, "taken, not sealed: only %d of the %d vaults asked for hold the whole cut", len(cut.SealedIn), set.Need())
	}
	cut.SealedAt = time.Now().UTC()
	_, err := set.SaveCut(ctx, cut)

	return cut, err
}

// newestSealed finds the newest cut that was sealed in each vault, once: what is
// held up to there need not be looked for again.
type newestSealed struct {
	group string
	mu    sync.Mutex
	cuts  map[*vault.Vault]*targets.Cut
}

// point tells one shard's point of the newest cut that was sealed in a vault;
// the zero position when there is none.
func (n *newestSealed) point(shard targets.ShardID) func(context.Context, *vault.Vault) (stream.Foothold, error) {
	return func(ctx context.Context, v *vault.Vault) (stream.Foothold, error) {
		n.mu.Lock()
		cut := n.cuts[v]
		n.mu.Unlock()

		if cut == nil {
			newest, _, err := NewestCut(ctx, v, n.group)
			if err != nil && !fail.Is(err, fail.NotFound) {
				return stream.Foothold{}, err
			}
			cut = &newest

			n.mu.Lock()

			if n.cuts == nil {
				n.cuts = map[*vault.Vault]*targets.Cut{}
			}
			n.cuts[v] = cut
			n.mu.Unlock()
		}
		p, _ := cut.Point(shard)

		return stream.Foothold{Base: p.Bases[v.Region()], At: p.Position}, nil
	}
}

// Holders lists the regions whose vaults hold the object manifest, and with it
// every object that it names: no other vault gets one. One that does not answer
// is not waited for once enough others hold it.
func Holders(ctx context.Context, set vault.Set, shard targets.ShardID, at targets.Position) ([]string, error) {
	if at.Manifest == "" {
		return nil, fail.Newf(fail.Invalid, "cut: seal", shard.String(), "the object snapshot is missing")
	}

	var in []string
	for i, err := range set.Each(ctx, func(ctx context.Context, v *vault.Vault) error {
		r, err := v.Shard(shard).Manifest(ctx, at.Manifest)
		if err != nil {
			return err
		}
		return r.Close()
	}) {
		switch {
		case err == nil:
			in = append(in, set.Vaults[i].Region())
		case fail.Is(err, fail.NotFound), fail.Retryable(err), errors.Is(err, context.Canceled):
		default:
			return nil, err
		}
	}

	return in, ctx.Err()
}

// everywhere returns the regions that are in every list.
func everywhere(held [][]string) []string {
	if len(held) == 0 {
		return nil
	}

	var out []string
	for _, r := range held[0] {
		all := true
		for _, h := range held[1:] {
			all = all && slices.Contains(h, r)
		}

		if all {
			out = append(out, r)
		}
	}

	return out
}
