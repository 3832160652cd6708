package stream

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// tailWanted is how many of a timeline's last chunks an Outline has at least,
// if there are so many. It is more than an archiver has on their way at once,
// so that what a crash kept from a vault lies among them.
const tailWanted = 300

// Outline reads what a vault holds of a shard's streams as Load does, but of
// each timeline only the last chunks, and those inside declared holes: enough to
// tell where the log ends and what it is that leads there. What it costs does
// not depend on how much is kept. A damaged origin is passed over, as in Load.
func Outline(ctx context.Context, v *vault.Vault, shard targets.ShardID) ([]timeline.Timeline, error) {
	return outline(ctx, v, v.Store(), shard)
}

func outline(ctx context.Context, v *vault.Vault, st vault.Store, shard targets.ShardID) ([]timeline.Timeline, error) {
	ids, err := st.Folders(ctx, vault.StreamPrefix(shard))
	if err != nil {
		return nil, err
	}
	out := make([]timeline.Timeline, len(ids))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)

	for i, id := range ids {
		g.Go(func() (err error) {
			out[i], err = outlineOf(gctx, v, names{st, shard, id})
			return err
		})
	}

	if err := g.Wait(); err != nil {
		return nil, err
	}

	timeline.Sort(out)

	return out, nil
}

func outlineOf(ctx context.Context, v *vault.Vault, n names) (timeline.Timeline, error) {
	l := timeline.Timeline{ID: n.timeline}

	o, err := readRecord(ctx, v, n.shard, n.timeline)
	switch {
	case err == nil:
		l = o.Says()
	case fail.Is(err, fail.Corrupt): // one bad object must not end archiving
		l.PassOver(err)
	case !fail.Is(err, fail.NotFound):
		return l, err
	}

	whole := false
	if l.Chunks, whole, err = n.last(ctx, l.Offset, tailWanted); err != nil {
		return l, err
	}

	if !whole && len(l.Chunks) > 0 {
		l.ListedFrom = l.Chunks[0].From
	}

	if l.Holes, err = n.holes(ctx); err != nil {
		return l, err
	}

	for _, h := range l.Holes {
		if h.From >= l.ListedFrom {
			continue
		}

		inside, _, _, err := n.holding(ctx, h.From, min(h.To, l.ListedFrom))
		if err != nil {
			return l, err
		}
		l.Chunks = append(l.Chunks, inside...)
	}

	timeline.SortChunks(l.Chunks)

	l.Chunks = slices.Compact(l.Chunks)
	if !l.Origin {
		l.DateByChunks()
	}

	return l, nil
}
