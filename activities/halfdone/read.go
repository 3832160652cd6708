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
	w, err := s.way(ctx)
	for _, c := range w.chunks {
		if c.Closed.After(at) {
			at = c.Closed
		}
	}

	return at, err
}

// way is what a vault has of the way to a fork, without a gap but for the last timeline.
type way struct {
	steps  []timeline.Step  // the oldest first
	chunks []timeline.Chunk // of all of them, up to where each was left
	all    bool             // the vault has nothing of the shard that lies before
}

// way follows the old timeline back, through those that it comes from.
func (s Source) way(ctx context.Context) (w way, err error) {
	ls, err := stream.Outline(ctx, s.Vault, s.Shard)
	if err != nil {
		return w, err
	}

	if w = wayTo(ls, s.Fork); len(w.chunks) == 0 {
		err = fmt.Errorf("the vault of %s has no log of timeline %s before %s", s.Vault.Region(), s.Fork.Timeline, s.Fork)
	}

	return w, err
}

func wayTo(ls []timeline.Timeline, fork targets.Position) (w way) {
	for step := range timeline.NewIndex(ls).Back(fork) {
		chunks := upTo(step.Chunks, step.UpTo)
		if len(chunks) == 0 || len(w.steps) > 0 && held(chunks, chunks[0].From, step.UpTo) < step.UpTo {
			return w
		}

		// A timeline of PostgreSQL begins with its segment, a copy of its parent's up to where it left that.
		w.steps, w.chunks = append([]timeline.Step{step}, w.steps...), append(chunks, behind(w.chunks, step.UpTo)...)
		w.all = step.Origin && step.Parent.Timeline == ""

		if !step.Origin || chunks[0].From > step.Offset || step.Offset > step.Parent.Offset { // what lies before is not there
			w.all = step.Origin && !slices.ContainsFunc(ls, func(l timeline.Timeline) bool { return l.ID == step.Parent.Timeline && len(l.Chunks) > 0 })
			return w
		}
	}

	return w
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

// behind are chunks from a place on.
func behind(all []timeline.Chunk, place uint64) (out []timeline.Chunk) {
	for _, c := range all {
		if c.To > place {
			c.From = max(c.From, place)
			out = append(out, c)
		}
	}

	return out
}

func (s Source) read(ctx context.Context, since time.Time, out *Log) error {
	w, err := s.way(ctx)
	if err != nil {
		return err
	}

	start, from, ok := begin(s.Opener, w.chunks, since)
	if !ok {
		return fmt.Errorf("the vault of %s has less than a page of timeline %s", s.Vault.Region(), s.Fork.Timeline)
	}
	out.Since, out.All = from, w.all

	now, err := s.Now(ctx)
	if err != nil {
		return err
	}
	out.Fork = s.Fork.Offset

	parts, lines := s.parts(w, start, now)

	log, err := s.Opener.OpenLog(shardlog.Options{Shard: s.Shard, Start: start, Timelines: lines})
	if err != nil {
		return err
	}

	for _, p := range parts {
		if err := feed(ctx, log, p.span, p.open); err != nil {
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

// piece is a part of a log, and who has it.
type piece struct {
	span targets.Span
	open func(context.Context, targets.Span) (io.ReadCloser, error)
}

// parts are those from a place on: what the vault has, and the rest from the new primary.
func (s Source) parts(w way, start uint64, now targets.Position) (all []piece, lines []shardlog.Timeline) {
	vault := stream.NewReader(s.Vault, s.Shard).Log

	for i, step := range w.steps {
		from, begin := start, step.Offset
		if i > 0 {
			begin = step.Parent.Offset
			from = max(start, begin)
		}

		if from >= step.UpTo && i+1 < len(w.steps) {
			continue // it begins behind it
		}
		lines = append(lines, shardlog.Timeline{Name: step.ID, Begin: begin})
		end := max(from, held(upTo(step.Chunks, step.UpTo), from, step.UpTo))
		all = append(all, piece{targets.Span{Timeline: step.ID, From: from, To: end}, vault}, piece{targets.Span{Timeline: step.ID, From: end, To: step.UpTo}, s.Rest})
	}

	return append(all, piece{targets.Span{Timeline: now.Timeline, From: s.Fork.Offset, To: now.Offset}, s.Rest}),
		append(lines, shardlog.Timeline{Name: now.Timeline, Begin: s.Fork.Offset})
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
