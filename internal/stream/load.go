package stream

import (
	"context"
	"io"
	"strings"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Load reads what a vault holds of a shard's streams: one listing, and every
// timeline's origin. A vault that holds nothing is not an error, and neither is
// what is damaged: see timeline.Timeline.Damage. Timelines are sorted by age.
func Load(ctx context.Context, v *vault.Vault, shard targets.ShardID) ([]timeline.Timeline, error) {
	return load(ctx, v, v.Store(), shard)
}

func load(ctx context.Context, v *vault.Vault, st vault.Store, shard targets.ShardID) ([]timeline.Timeline, error) {
	byID := map[string]*timeline.Timeline{}

	get := func(id string) *timeline.Timeline {
		l := byID[id]
		if l == nil {
			l = &timeline.Timeline{ID: id}
			byID[id] = l
		}

		return l
	}
	for info, err := range st.List(ctx, vault.StreamPrefix(shard), "") {
		if err != nil {
			return nil, err
		}

		if c, ok := vault.ParseChunkKey(info.Key); ok {
			l := get(c.Timeline)
			l.Chunks = append(l.Chunks, timeline.Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: info.Key})
		} else if _, id, ok := vault.ParseOriginKey(info.Key); ok {
			get(id).Origin = true
		} else if id, from, to, ok := vault.ParseHoleKey(info.Key); ok {
			l := get(id)
			l.Holes = append(l.Holes, timeline.Gap{From: from, To: to})
		} else if p := strings.Split(info.Key, "/"); len(p) == 5 { // streams/target/shard/timeline/name
			get(p[3]).PassOver(fail.Newf(fail.Corrupt, "stream: list", info.Key, "no archiver writes such a name"))
		}
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)

	for _, l := range byID {
		if !l.Origin {
			l.DateByChunks()
			continue
		}

		g.Go(func() error {
			o, err := readRecord(gctx, v, shard, l.ID)
			if fail.Is(err, fail.Corrupt) {
				l.Origin = false
				l.PassOver(err)
				l.DateByChunks()

				return nil
			}

			if err != nil {
				return err
			}
			chunks, holes := l.Chunks, l.Holes
			*l = o.Says()
			l.Chunks, l.Holes = chunks, holes

			return nil
		})
	}

	if err := g.Wait(); err != nil {
		return nil, err
	}

	out := make([]timeline.Timeline, 0, len(byID))
	for _, l := range byID {
		timeline.SortChunks(l.Chunks)
		out = append(out, *l)
	}

	timeline.Sort(out)

	return out, nil
}

// readRecord reads the record of a timeline: fail.NotFound when the vault has
// none, fail.Corrupt when it is damaged.
func readRecord(ctx context.Context, v *vault.Vault, shard targets.ShardID, id string) (timeline.Record, error) {
	key := vault.OriginKey(shard, id)

	r, _, err := v.Decrypt(ctx, key)
	if err != nil {
		return timeline.Record{}, err
	}
	defer r.Close()

	b, err := io.ReadAll(io.LimitReader(r, timeline.MaxRecord))
	if err != nil {
		return timeline.Record{}, err
	}

	o, err := timeline.DecodeRecord(b, id)
	if err != nil {
		return timeline.Record{}, fail.New(fail.Corrupt, "stream: origin", key, "", err)
	}

	return o, nil
}

// listTimeline lists the chunks of one timeline whose keys sort after the key
// after, and its declared holes: their keys sort after every chunk's.
func listTimeline(ctx context.Context, st vault.Store, shard targets.ShardID, id, after string) (chunks []timeline.Chunk, holes []timeline.Gap, err error) {
	for info, err := range st.List(ctx, vault.TimelinePrefix(shard, id), after) {
		if err != nil {
			return nil, nil, err
		}

		if c, ok := vault.ParseChunkKey(info.Key); ok {
			chunks = append(chunks, timeline.Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: info.Key})
		} else if _, from, to, ok := vault.ParseHoleKey(info.Key); ok {
			holes = append(holes, timeline.Gap{From: from, To: to})
		}
	}

	return chunks, holes, nil
}
