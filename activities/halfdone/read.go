package halfdone

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"drctl/internal/proof"
	"drctl/internal/proof/shardlog"
	"drctl/internal/stream"
	"drctl/internal/timeline"
	"drctl/internal/vault"
	"drctl/targets"
)

// Source is where the log of a shard's new primary is read.
type Source struct {
	Vault  *vault.Vault
	Opener shardlog.Opener
	Shard  targets.ShardID
	// Fork is where the new primary left the old timeline.
	Fork targets.Position
	// Rest reads what the vault does not have, from the new primary itself, and Now says how far that is
	// on its own timeline.
	Rest func(ctx context.Context, part targets.Span) (io.ReadCloser, error)
	Now  func(ctx context.Context) (targets.Position, error)
}

// Read reads the log from before a time on, to where the new primary is now: who has ended something since the
// promotion is heard as well. What is in the way is in the log's Why.
func (s Source) Read(ctx context.Context, since time.Time) Log {
	out := Log{Shard: s.Shard}

	if err := s.read(ctx, since, &out); err != nil {
		out.Why = err.Error()
	}

	return out
}

// Ended is when the vault got the last of what the new primary has of the old timeline.
func (s Source) Ended(ctx context.Context) (at time.Time, err error) {
	chunks, err := s.chunks(ctx)
	for _, c := range chunks {
		if c.Closed.After(at) {
			at = c.Closed
		}
	}

	return at, err
}

// chunks are what the vault has of the old timeline, up to where the new primary left it.
func (s Source) chunks(ctx context.Context) (out []timeline.Chunk, err error) {
	ls, err := stream.Outline(ctx, s.Vault, s.Shard)
	if err != nil {
		return nil, err
	}

	if l := timeline.Find(ls, s.Fork.Timeline); l != nil {
		out = upTo(l.Chunks, s.Fork.Offset)
	}

	if len(out) == 0 {
		return nil, fmt.Errorf("the vault of %s has no log of timeline %s before %s", s.Vault.Region(), s.Fork.Timeline, s.Fork)
	}

	return out, nil
}

// upTo are chunks up to a place.
func upTo(all []timeline.Chunk, end uint64) (out []timeline.Chunk) {
	for _, c := range all {
		if c.From < end {
			c.To = min(c.To, end)
			out = append(out, c)
		}
	}

	return out
}

func (s Source) read(ctx context.Context, since time.Time, out *Log) error {
	chunks, err := s.chunks(ctx)
	if err != nil {
		return err
	}

	start, from, ok := begin(s.Opener, chunks, since)
	if !ok {
		return fmt.Errorf("the vault of %s has less than a page of timeline %s", s.Vault.Region(), s.Fork.Timeline)
	}
	end := held(chunks, start, s.Fork.Offset)
	out.Since = from

	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	out.Fork = s.Fork.Offset

	log, err := s.Opener.OpenLog(shardlog.Options{Shard: s.Shard, Start: start, Timelines: []shardlog.Timeline{{Name: s.Fork.Timeline}, {Name: now.Timeline, Begin: s.Fork.Offset}}})
	if err != nil {
		return err
	}

	for _, part := range []struct {
		span targets.Span
		open func(context.Context, targets.Span) (io.ReadCloser, error)
	}{
		{targets.Span{Timeline: s.Fork.Timeline, From: start, To: max(start, end)}, stream.NewReader(s.Vault, s.Shard).Log},
		{targets.Span{Timeline: s.Fork.Timeline, From: max(start, end), To: s.Fork.Offset}, s.Rest},
		{targets.Span{Timeline: now.Timeline, From: s.Fork.Offset, To: now.Offset}, s.Rest},
	} {
		if err := feed(ctx, log, part.span, part.open); err != nil {
			return err
		}
	}

	res, err := log.Stretch(s.Fork.Offset, nil)
	if err == nil && slices.Contains(res.Missing, shardlog.NoLog) {
		err = fmt.Errorf("the new primary has no record behind %s", s.Fork)
	}

	if err != nil {
		return err
	}

	for _, r := range append(slices.Clone(res.Earlier), res.Records...) {
		if r.GID != "" || len(r.Tags) > 0 || r.Kind != proof.Commit {
			out.Records = append(out.Records, r)
		}
	}

	return nil
}

// begin is the last place at which reading can begin and before which all log was written before a time, and
// a time from which on all lies behind it. Of a log that does not reach back so far it is the first such place, and the
// time at which what lies before that was archived; ok is false where not even that was.
func begin(log shardlog.Opener, all []timeline.Chunk, since time.Time) (start uint64, from time.Time, ok bool) {
	if len(all) == 0 {
		return 0, from, false
	}
	start, from = all[0].From, all[0].Closed

	for _, c := range all {
		if c.Closed.Before(since) && c.To > start {
			start, from = c.To, c.Closed
		}
	}

	// Chunks end anywhere. What is left of the page may be all that was written for an hour.
	next := log.LogStart(start)
	if next == start {
		return start, from, true
	}

	if page := log.LogStart(next+1) - next; next-page >= all[0].From {
		return next - page, from, true
	}

	for _, c := range all {
		if c.To >= next {
			return next, c.Closed, true
		}
	}

	return 0, from, false
}

// held is how far chunks reach without a gap from a place, and not behind an end.
func held(all []timeline.Chunk, start, end uint64) uint64 {
	_, gaps := timeline.Cover(all, start, end)
	if len(gaps) > 0 {
		end = gaps[0].From
	}

	return end
}

func feed(ctx context.Context, log shardlog.Log, span targets.Span, open func(context.Context, targets.Span) (io.ReadCloser, error)) (err error) {
	if span.From >= span.To {
		return nil
	}

	src, err := open(ctx, span)
	if err != nil {
		return err
	}

	defer func() { err = errors.Join(err, src.Close()) }()

	counted := &counter{from: io.LimitReader(src, int64(span.To-span.From))}
	if err := log.Feed(counted); err != nil {
		return err
	}

	if counted.n != span.To-span.From {
		return fmt.Errorf("%d bytes of [%d,%d) of timeline %s are missing", span.To-span.From-counted.n, span.From, span.To, span.Timeline)
	}

	return nil
}

// counter counts what is read.
type counter struct {
	from io.Reader
	n    uint64
}

// Read implements io.Reader.
func (c *counter) Read(p []byte) (int, error) {
	n, err := c.from.Read(p)
	c.n += uint64(n)

	return n, err
}
