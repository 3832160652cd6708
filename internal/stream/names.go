package stream

import (
	"context"
	"fmt"
	"math"
	"slices"

	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// A log is listed from where a question begins, never from its own beginning:
// a busy shard adds 86,400 names a day. Names sort by where chunks begin, and
// no store lists backwards, so that what lies just before a place is searched
// for in steps, each of which looks at page names at most.
const (
	page      = 999     // S3 answers with 1,000: one more tells that more follow
	firstStep = 4 << 10 // bytes of log
	growth    = 8
)

// names lists the chunks of one timeline in one vault.
type names struct {
	st       vault.Store
	shard    targets.ShardID
	timeline string
}

// backward is a store that finds the last names of a folder in one go.
type backward interface {
	Last(ctx context.Context, dir, before string, n int) ([]string, error)
}

func (n names) prefix() string { return vault.TimelinePrefix(n.shard, n.timeline) }

// at sorts just before every chunk that begins at the offset.
func (n names) at(offset uint64) string { return fmt.Sprintf("%s%016X", n.prefix(), offset) }

// end sorts after every chunk, and before the origin and the holes.
func (n names) end() string { return n.prefix() + "G" }

// between lists the chunks that begin at start or later and before the offset
// end, perhaps a few more, and all declared holes.
func (n names) between(ctx context.Context, start, end uint64) (chunks []timeline.Chunk, holes []timeline.Gap, err error) {
	beyond := 0
	for info, err := range n.st.List(ctx, n.prefix(), n.at(start)) {
		if err != nil {
			return nil, nil, err
		}

		if c, ok := vault.ParseChunkKey(info.Key); ok {
			if c.From >= end {
				beyond++
			}

			if beyond > page/10 { // the holes come after all chunks
				holes, err = n.holes(ctx)
				return chunks, holes, err
			}
			chunks = append(chunks, timeline.Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: info.Key})
		} else if _, from, to, ok := vault.ParseHoleKey(info.Key); ok {
			holes = append(holes, timeline.Gap{From: from, To: to})
		}
	}

	return chunks, holes, nil
}

// holes lists the declared holes alone: their names sort after every chunk's.
func (n names) holes(ctx context.Context) ([]timeline.Gap, error) {
	_, holes, err := listTimeline(ctx, n.st, n.shard, n.timeline, n.end())
	return holes, err
}

// some lists at most limit chunks that begin at start or later and before the
// offset end, and reports whether that were all.
func (n names) some(ctx context.Context, start, end uint64, limit int) (chunks []timeline.Chunk, all bool, err error) {
	for info, err := range n.st.List(ctx, n.prefix(), n.at(start)) {
		if err != nil {
			return nil, false, err
		}

		c, ok := vault.ParseChunkKey(info.Key)
		if !ok && info.Key < n.end() {
			continue
		}

		if !ok || c.From >= end {
			break
		}

		if len(chunks) == limit {
			return chunks, false, nil
		}
		chunks = append(chunks, timeline.Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: info.Key})
	}

	return chunks, true, nil
}

// before lists some of the last chunks that begin before the offset end: at
// least want, when there are so many, and the one that holds the byte before
// it. (Only one that is longer than a page of those that began after it can
// be missed.)
func (n names) before(ctx context.Context, end uint64, want int) ([]timeline.Chunk, error) {
	if b, ok := n.st.(backward); ok {
		return n.parse(b.Last(ctx, n.prefix(), n.at(end), page))
	}

	high, few := end, []timeline.Chunk(nil)
	for step := uint64(firstStep); ; step *= growth {
		start := end - min(step, end)

		chunks, all, err := n.some(ctx, start, end, page)
		if err != nil {
			return nil, err
		}

		held := slices.ContainsFunc(chunks, func(c timeline.Chunk) bool { return c.To >= end })
		switch {
		case !all:
			return n.narrow(ctx, start, high, end, few, want)
		case held && len(chunks) >= want, start == 0, step > math.MaxUint64/growth:
			return chunks, nil
		}
		high, few = start, chunks
	}
}

// last lists some of the last chunks of all, at least want when there are so
// many, and whether these are all there are. None of the timeline begins before
// the offset least: from there it goes forward in growing steps until nothing
// follows.
func (n names) last(ctx context.Context, least uint64, want int) (chunks []timeline.Chunk, whole bool, err error) {
	const end = math.MaxUint64
	if b, ok := n.st.(backward); ok {
		chunks, err = n.parse(b.Last(ctx, n.prefix(), n.end(), page))
		return chunks, len(chunks) < page, err
	}
	low := least
	chunks, whole, err = n.some(ctx, low, end, page)

	all := whole
	for step := uint64(firstStep); err == nil && !all; step *= growth {
		next := chunks[len(chunks)-1].From

		next += min(step, end-next)
		if chunks, all, err = n.some(ctx, next, end, page); err == nil && all && len(chunks) < want {
			chunks, err = n.narrow(ctx, low, next, end, chunks, want)
			return chunks, false, err
		}
		low = next
	}

	return chunks, whole, err
}

// over lists the chunks that hold bytes of a range, and some before it: of what
// is damaged an earlier and longer one may hold the same bytes.
func (n names) over(ctx context.Context, from, to uint64) ([]timeline.Chunk, error) {
	near, err := n.before(ctx, from, page/10)
	if err != nil {
		return nil, err
	}
	more, _, err := n.between(ctx, from, to)

	return append(near, more...), err
}

// holding lists the chunks from the one on that holds the byte before an
// offset, up to another, and all declared holes. Start is where the first one
// begins, the offset itself when none holds that byte.
func (n names) holding(ctx context.Context, at, to uint64) (chunks []timeline.Chunk, holes []timeline.Gap, start uint64, err error) {
	near, err := n.before(ctx, at, 1)
	if err != nil {
		return nil, nil, 0, err
	}

	start = at
	for _, c := range near {
		if c.To >= at {
			start = min(start, c.From)
		}
	}
	chunks, holes, err = n.between(ctx, start, to)

	return chunks, holes, start, err
}

// narrow finds a place between low, where more than a page follows, and high,
// where the few that follow are too few.
func (n names) narrow(ctx context.Context, low, high, end uint64, few []timeline.Chunk, want int) ([]timeline.Chunk, error) {
	for high-low > 1 {
		middle := low + (high-low)/2

		chunks, all, err := n.some(ctx, middle, end, page)
		switch {
		case err != nil:
			return nil, err
		case !all:
			low = middle
		case len(chunks) < want:
			high, few = middle, chunks
		default:
			return chunks, nil
		}
	}

	return few, nil
}

// parse keeps the chunks among keys.
func (n names) parse(keys []string, err error) ([]timeline.Chunk, error) {
	chunks := make([]timeline.Chunk, 0, len(keys))
	for _, k := range keys {
		if c, ok := vault.ParseChunkKey(k); ok {
			chunks = append(chunks, timeline.Chunk{From: c.From, To: c.To, Closed: c.Closed, Key: k})
		}
	}

	return chunks, err
}
