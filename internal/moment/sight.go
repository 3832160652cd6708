package moment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/moment/evidence"
	"drctl/internal/moment/logtail"
	"drctl/internal/moment/masters"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/search"
	"drctl/internal/proof/shardlog"
	"drctl/targets"
)

const (
	// before is how long before the first instant wanted a stretch begins: what was being
	// committed when a server was first seen may have been stamped before that.
	before = clock.Instant(time.Second)
	// after is how long after the last instant wanted observations are of use.
	after = 5 * time.Second
	// atOnce is how many shards' logs are read at once.
	atOnce = 8
)

// sight is a look with what it was made of.
type sight struct {
	seen    *seen
	look    proof.Look
	logs    []evidence.Log
	base    *evidence.Base // that the look goes on from
	missing []shardlog.Missing
	// The masters of the look are as they were while they stood still, and here while they did not.
	moving []proof.Master
	// since tells for each shard, by its server's clock, from when on everything that was
	// prepared is in the look.
	since map[targets.ShardID]time.Time
}

// want is what a sight is to show.
type want struct {
	window proof.Span
	back   time.Duration
	warm   bool
	hints  []*seen // of where the logs stood, by whichever observer
}

// sight reads the logs and puts a look together. What keeps a shard from being looked at
// is in a *None.
func (f *Finder) sight(ctx context.Context, req *Request, s *seen, w want) (*sight, error) {
	out := &sight{seen: s, look: proof.Look{Observer: s.observer, Holds: req.Holds}, since: map[targets.ShardID]time.Time{}}
	none := &None{}

	var shards []Shard

	for _, shard := range req.Shards {
		switch {
		case shard.Kind == targets.Postgres:
			shards = append(shards, shard)
		case shard.Kind == targets.Redis:
			still, moving := s.markers(shard.ID, w.window)
			if len(still.Markers)+len(moving.Markers) == 0 {
				none.add(Obstacle{Shard: shard.ID, Cause: "nobody asked it for its place then", Hint: "see whether the group's observer reaches it"})
			}
			out.look.Masters, out.moving = append(out.look.Masters, still), append(out.moving, moving)
		}
	}

	parts := make([]part, 0, len(shards))
	for _, shard := range shards {
		p, o := plan(shard.ID, s, w, req.Policy.Limit)
		if o != nil {
			none.add(*o)
			continue
		}

		parts = append(parts, p)
	}

	if len(none.Obstacles) > 0 {
		return nil, none
	}

	base, err := f.goOn(ctx, req, s, w, parts)
	if err != nil {
		return nil, err
	}

	out.look.Stretches, out.logs = make([]proof.Stretch, len(parts)), make([]evidence.Log, len(parts))
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	var mu sync.Mutex

	for i := range parts {
		g.Go(func() error {
			res, log, o, err := f.stretch(gctx, &parts[i], w.warm)

			mu.Lock()
			defer mu.Unlock()

			if err != nil || o != nil {
				if o != nil {
					none.add(*o)
				}

				return err
			}
			out.look.Stretches[i], out.logs[i] = res.Stretch, log
			out.missing = append(out.missing, res.Missing...)

			return nil
		})
	}

	if err := g.Wait(); err != nil {
		return nil, err
	}

	if len(none.Obstacles) > 0 {
		return nil, none
	}

	if base != nil && base.Under(out.look.Stretches, out.logs) {
		out.base, out.look.Base = base, &base.Base
	}

	for _, l := range out.logs {
		r, _ := s.of(l.Shard, w.window.To)
		out.since[l.Shard] = preparedSince(r.all, l.Start)
	}

	return out, nil
}

// find searches the look: with all masters standing still, and where that gives no cut of the best grade
// with one of them not.
func (l *sight) find(policy proof.Policy) (*proof.Result, error) {
	choices := [][]proof.Master{l.look.Masters}
	for _, i := range masters.MayMove(l.look.Masters, l.moving) {
		one := slices.Clone(l.look.Masters)
		one[i] = l.moving[i]
		choices = append(choices, one)
	}

	return search.FindAmong(l.look, policy, choices)
}

// part is a shard's part of a sight: what was seen of its server, and what is wanted of its log.
type part struct {
	shard  targets.ShardID
	run    run
	wanted logtail.Wanted
}

// plan says what is wanted of a shard's log. The obstacle says why it cannot be looked at.
func plan(shard targets.ShardID, s *seen, w want, limit time.Duration) (part, *Obstacle) {
	r, err := s.of(shard, w.window.To)
	if err != nil {
		return part{}, &Obstacle{Shard: shard, Cause: fail.Cause(err), Hint: hint(err)}
	}

	if len(r.all) == 0 {
		return part{}, &Obstacle{Shard: shard, Cause: "nobody asked its server for its clock then", Hint: "see whether the server ran and the group's observer reaches it"}
	}
	from, to := ends(r.all, w.window)
	begin := start(shard, s, w, from)
	w.back = limit + time.Second
	known := start(shard, s, w, from)

	return part{shard, r, logtail.Wanted{Timeline: r.all[0].Timeline, From: from, To: to, Start: begin, Afresh: begin, Known: known}}, nil
}

// stretch reads the log of one shard. The obstacle says why it cannot be looked at.
func (f *Finder) stretch(ctx context.Context, p *part, warm bool) (*shardlog.Result, evidence.Log, *Obstacle, error) {
	tail, release := f.tail(p.shard)
	defer release()

	read := tail.Once
	if warm {
		read = tail.Read
	}

	res, span, err := read(ctx, p.wanted, p.run.all)
	switch {
	case fail.Is(err, fail.NotFound), fail.Is(err, fail.Corrupt):
		return nil, evidence.Log{}, &Obstacle{Shard: p.shard, Cause: fail.Cause(err), Hint: hint(err)}, nil
	case err != nil:
		return nil, evidence.Log{}, nil, err
	case foreign(res, p.run.all):
		return nil, evidence.Log{}, &Obstacle{Shard: p.shard, Cause: "the log in the vault is not that of the server whose clock was asked: it has commits that the server had not made yet",
			Hint: "find out which server is the primary; the observer and the archiver must follow the same one"}, nil
	}

	return res, evidence.Log{Span: span, Server: p.run.server}, nil, nil
}

// ends are where a stretch begins, a while before the first instant wanted, and up to where
// the log is of use. A server that was seen later has its first commits stamped before that: they are not
// of the stretch.
func ends(all []observation.Observation, window proof.Span) (from, to uint64) {
	from = all[min(1, len(all)-1)].Flushed

	for _, o := range all {
		if o.T1 <= window.From-before {
			from = max(from, o.Flushed)
		}

		if o.T0 <= window.To+clock.Instant(after) {
			to = max(to, o.Flushed)
		}
	}

	return from, max(from, to)
}

// start is where the log stood as long before the first instant wanted as it is to be read back,
// as whoever looked then has seen; or as far back as the log grew since as often as that is longer
// than what was seen.
func start(shard targets.ShardID, s *seen, w want, from uint64) uint64 {
	at := s.wall(w.window.From).Add(-w.back)
	oldest, found := from, uint64(0)
	first := s.wall(w.window.From)

	for _, h := range w.hints {
		for _, r := range h.runs[shard] {
			for _, o := range r.all {
				wall := time.Unix(0, int64(o.Wall))
				if o.Flushed > from {
					continue
				}

				if !wall.After(at) {
					found = max(found, o.Flushed)
				}

				if wall.Before(first) {
					oldest, first = min(oldest, o.Flushed), wall
				}
			}
		}
	}

	if found > 0 {
		return found
	}
	grew := from - oldest + 1<<20
	times := uint64(w.back/time.Minute) + 1

	return from - min(from, grew*(times+1))
}

// foreign reports whether a log has a commit in front of a place that a server had flushed before
// it can have been made: the log is of another server.
func foreign(res *shardlog.Result, all []observation.Observation) bool {
	c, err := clock.New(res.Samples, 0)
	if err != nil {
		return true
	}
	i := 0

	var flushed uint64
	for _, o := range all { // in order of time
		if o.Flushed <= flushed {
			continue
		}

		for flushed = o.Flushed; i < len(res.Records) && res.Records[i].End <= flushed; i++ {
			if when, ok := c.At(res.Records[i].Stamp); ok && when.Earliest > o.T1 {
				return true
			}
		}
	}

	return false
}

// preparedSince is a time of the server's clock: what was prepared later lies behind an
// offset. Its clock was read before it said what was flushed.
func preparedSince(all []observation.Observation, offset uint64) time.Time {
	for _, o := range all {
		if o.Flushed >= offset {
			return time.Unix(0, int64(o.Stamp)+int64(o.T1-o.T0)).Add(time.Millisecond).UTC()
		}
	}

	return time.Time{}
}

// hint is what an error says is to be done.
func hint(err error) string {
	if f, ok := errors.AsType[*fail.Error](err); ok {
		return f.Hint
	}

	return ""
}

// subject names an obstacle.
func subject(o Obstacle) string {
	if o.Shard == (targets.ShardID{}) {
		return o.Cause
	}

	return fmt.Sprintf("%s: %s", o.Shard, o.Cause)
}
