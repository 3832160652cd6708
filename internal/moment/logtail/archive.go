package logtail

import (
	"bytes"
	"context"
	"fmt"
	"io"

	"drctl/internal/fail"
	"drctl/internal/proof/shardlog"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// archive is what a vault holds of a shard's log.
type archive struct {
	v       *vault.Vault
	shard   targets.ShardID
	log     *stream.Reader
	records map[string]timeline.Record
}

// most is how many timelines are followed back.
const most = 32

// way is over which timelines the log leads from an offset to the end of a timeline. Where
// it does not lead there from so far back, it begins later.
func (a *archive) way(ctx context.Context, name string, start uint64) (way []shardlog.Timeline, from uint64, err error) {
	for range most {
		r, err := a.record(ctx, name)
		if err != nil {
			return nil, 0, err
		}

		one := shardlog.Timeline{Name: name, Begin: r.Offset}
		if r.Parent.Timeline != "" {
			one.Begin = r.Parent.Offset
		}
		way = append([]shardlog.Timeline{one}, way...)

		if r.Parent.Timeline == "" || start >= one.Begin || r.Offset > one.Begin {
			way[0].Begin = 0 // of no meaning
			return way, max(start, r.Offset), nil
		}
		name = r.Parent.Timeline
	}

	return nil, 0, fail.Newf(fail.Corrupt, op, a.shard.String(), "timeline %s has more than %d ancestors", name, most)
}

// record is what the vault says of a timeline; of one without a record nothing is known.
func (a *archive) record(ctx context.Context, name string) (timeline.Record, error) {
	if r, ok := a.records[name]; ok {
		return r, nil
	}

	key := vault.OriginKey(a.shard, name)

	content, _, err := a.v.ReadEncrypted(ctx, key)
	if fail.Is(err, fail.NotFound) {
		return timeline.Record{Timeline: name}, nil
	}

	if err != nil {
		return timeline.Record{}, err
	}

	r, err := timeline.DecodeRecord(content, name)
	if err != nil {
		return r, fail.New(fail.Corrupt, op, key, "repair it from another region's vault", err)
	}
	a.records[name] = r

	return r, nil
}

// chunks lists those of a timeline that begin at an offset or behind it, and before
// another, by their names alone.
func (a *archive) chunks(ctx context.Context, name string, from, to uint64) (all []timeline.Chunk, err error) {
	prefix := vault.TimelinePrefix(a.shard, name)

	for info, err := range a.v.Store().List(ctx, prefix, fmt.Sprintf("%s%016X", prefix, from)) {
		if err != nil {
			return nil, err
		}

		c, ok := vault.ParseChunkKey(info.Key)
		if !ok {
			continue
		}

		if c.From >= to {
			break
		}
		all = append(all, timeline.Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: info.Key})
	}

	return all, nil
}

// block is how much is read at once, in bytes.
const block = 1 << 20

// feed hands a part of a log to readings of it, to each from where it begins.
func feed(ctx context.Context, from *stream.Reader, span targets.Span, to ...*reading) error {
	if span.From >= span.To {
		return nil
	}

	src, err := from.Log(ctx, span)
	if err != nil {
		return err
	}
	defer src.Close()
	buf := make([]byte, min(block, span.To-span.From))

	for at := span.From; at < span.To; {
		n, err := io.ReadFull(src, buf[:min(uint64(len(buf)), span.To-at)])
		if err != nil {
			return err
		}

		for _, r := range to {
			if end := at + uint64(n); r.span.Start < end {
				if err := r.log.Feed(bytes.NewReader(buf[max(at, r.span.Start)-at : n])); err != nil {
					return err
				}
			}
		}
		at += uint64(n)
	}

	return nil
}
