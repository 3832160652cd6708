package lookout

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"syscall"
	"time"

	"drctl/internal/detection"
	"drctl/internal/fail"
	"drctl/targets"
)

// standsBy is said of a server that answers and takes no writes.
const standsBy = "it answers, and takes no writes"

// again is how long the way to an instance is kept: a password may come of a program.
const again = time.Minute

// many is how many servers are asked at once at least.
const many = 32

// cached is the way to an instance.
type cached struct {
	in    targets.Instance
	until time.Time
}

// look asks the primary of each shard, and the standby in the lookout's own region. It takes
// about three limits at most, however many of them say nothing: later it would not be of now.
func (l *Lookout) look(ctx context.Context) []detection.Sighting {
	var mu sync.Mutex
	var out []detection.Sighting
	var all sync.WaitGroup

	in := turns{slots: make(chan struct{}, max(many, len(l.o.Shards)/2)), limit: l.o.Limit}
	ask := func(f func(context.Context, turns) detection.Sighting) {
		all.Go(func() {
			s := f(ctx, in)

			mu.Lock()
			defer mu.Unlock()

			out = append(out, s)
		})
	}

	for _, s := range l.o.Shards {
		if !slices.Contains(s.Regions, l.region) {
			continue
		}

		ask(func(ctx context.Context, in turns) detection.Sighting { return l.probe(ctx, in, s) })

		if l.o.Place != l.region && slices.Contains(s.Regions, l.o.Place) {
			ask(func(ctx context.Context, in turns) detection.Sighting { return l.link(ctx, in, s) })
		}
	}

	all.Wait()

	slices.SortFunc(out, func(a, b detection.Sighting) int {
		if c := a.Shard.Compare(b.Shard); c != 0 {
			return c
		}

		if a.Kind > b.Kind {
			return -1
		}

		return 1
	})

	return out
}

// turns lets so many ask at once, each within the limit.
type turns struct {
	slots chan struct{}
	limit time.Duration
}

// taken is what f says when it is its turn. One that does not end with its context is not waited for.
func taken[T any](ctx context.Context, t turns, f func(context.Context) (T, error)) (T, error) {
	t.slots <- struct{}{}
	defer func() { <-t.slots }()

	c, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()

	type answer struct {
		x   T
		err error
	}

	got := make(chan answer, 1)
	go func() {
		x, err := f(c)
		got <- answer{x, err}
	}()

	late := time.NewTimer(t.limit + t.limit/10) // what it says of its context's end is better
	defer late.Stop()

	select {
	case a := <-got:
		return a.x, a.err
	case <-late.C:
		var none T
		return none, fail.From(fail.Stalled, "detection: look", "", context.DeadlineExceeded)
	}
}

// instance is the way to an instance; one that was known is used while it cannot be had anew.
func (l *Lookout) instance(ctx context.Context, id targets.ShardID, region string) (targets.Instance, error) {
	key := id.String() + "@" + region

	l.mu.Lock()
	was, known := l.instances[key]
	l.mu.Unlock()

	if known && time.Now().Before(was.until) {
		return was.in, nil
	}

	in, err := l.o.Instance(ctx, id, region)
	if err != nil && known {
		in = was.in
	} else if err != nil {
		return in, err
	}

	l.mu.Lock()
	l.instances[key] = cached{in, time.Now().Add(again)}
	l.mu.Unlock()

	return in, nil
}

// probe asks a primary. To connect it needs no turn: who is gone is waited for by all at once.
func (l *Lookout) probe(ctx context.Context, turn turns, s Shard) detection.Sighting {
	out := detection.Sighting{Kind: detection.Probe, Shard: s.ID, Server: s.ID.String() + "@" + l.region}

	type found struct {
		in targets.Instance
		d  targets.Driver
	}

	way, err := taken(ctx, turn, func(ctx context.Context) (w found, err error) {
		w.in, w.d, err = l.way(ctx, s, l.region)
		return w, err
	})
	if err != nil {
		out.Saw, out.Why = detection.Unable, fail.Cause(err)
		return out
	}

	if w, ok := l.again(ctx, out.Server, way.in); ok {
		if out.Saw = detection.Alive; !w {
			out.Why = standsBy
		}

		return out
	}

	c, err := (&net.Dialer{Timeout: l.o.Limit}).DialContext(ctx, "tcp", way.in.Address)
	if err != nil {
		out.Saw, out.Why = dialled(err), fail.Cause(err)
		return out
	}
	_ = c.Close()

	st, err := taken(ctx, turn, func(ctx context.Context) (targets.Status, error) { return way.d.Reach(ctx, way.in) })
	out.Saw, out.Why = reached(st, err)

	if err == nil && !st.Writable {
		out.Why = standsBy
	}

	if err == nil && st.Writable && l.o.Session != nil {
		l.first(ctx, turn, out.Server, way.d, way.in)
	}

	return out
}

func (l *Lookout) way(ctx context.Context, s Shard, region string) (targets.Instance, targets.Driver, error) {
	in, err := l.instance(ctx, s.ID, region)
	if err != nil {
		return in, nil, err
	}
	d, err := l.o.Driver(s.Kind)

	return in, d, err
}

// dialled is what an error of connecting says: that nobody answers there, or that it could
// not be tried from here.
func dialled(err error) detection.Saw {
	var name *net.DNSError
	if errors.As(err, &name) {
		return detection.Unable
	}

	for _, own := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENETUNREACH, syscall.ENETDOWN, syscall.EADDRNOTAVAIL, syscall.ENOBUFS, syscall.ENOMEM, syscall.EACCES, syscall.EPERM, context.Canceled} {
		if errors.Is(err, own) {
			return detection.Unable
		}
	}

	return detection.Dead
}

// reached is what a server's answer says. One that refuses is alive, and so is one of which
// something was read before it was too slow for the rest.
func reached(st targets.Status, err error) (detection.Saw, string) {
	if err == nil {
		return detection.Alive, ""
	}

	why := fail.Cause(err)
	if st.Reachable || fail.Answered(err) {
		return detection.Alive, "it answers: " + why
	}

	switch fail.CodeOf(err) {
	case fail.Unavailable, fail.Stalled:
		return detection.Dead, why
	case fail.Denied, fail.NotFound, fail.Unsupported, fail.Conflict:
		return detection.Alive, "it answers: " + why
	}

	return detection.Unable, why
}

// link asks the standby in the lookout's region whether it still gets bytes.
func (l *Lookout) link(ctx context.Context, turn turns, s Shard) detection.Sighting {
	out := detection.Sighting{Kind: detection.Link, Shard: s.ID, Server: s.ID.String() + "@" + l.o.Place, Saw: detection.Unable}

	k, err := taken(ctx, turn, func(ctx context.Context) (Link, error) { return l.linkOf(ctx, s) })

	switch {
	case err != nil:
		out.Why = fail.Cause(err)
	case !k.Up:
		out.Saw, out.Why = detection.Dead, "its link to the primary is down"
	case k.Silent > max(l.o.Rules.Lost, l.o.Rules.Stale):
		out.Saw, out.Why = detection.Dead, "nothing has come for "+k.Silent.Round(100*time.Millisecond).String()
	case k.Silent > l.o.Rules.Stale:
		out.Why = "nothing has come for " + k.Silent.Round(100*time.Millisecond).String()
	default:
		out.Saw = detection.Alive
	}

	return out
}

func (l *Lookout) linkOf(ctx context.Context, s Shard) (Link, error) {
	old, d, err := l.way(ctx, s, l.region)
	if err != nil {
		return Link{}, err
	}

	own, _, err := l.way(ctx, s, l.o.Place)
	if err != nil {
		return Link{}, err
	}

	return l.o.Link(ctx, d, old, own)
}
