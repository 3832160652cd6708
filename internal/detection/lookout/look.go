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

// many is how many servers are asked at once.
const many = 32

// cached is the way to an instance.
type cached struct {
	in    targets.Instance
	until time.Time
}

// look asks the primary of each shard, and the standby in the lookout's own region.
func (l *Lookout) look(ctx context.Context) []detection.Sighting {
	var mu sync.Mutex
	var out []detection.Sighting
	var all sync.WaitGroup

	slots := make(chan struct{}, many)
	ask := func(f func(context.Context) detection.Sighting) {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()

			c, cancel := context.WithTimeout(ctx, l.o.Limit)
			defer cancel()

			s := f(c)

			mu.Lock()
			defer mu.Unlock()

			out = append(out, s)
		})
	}

	for _, s := range l.o.Shards {
		if !slices.Contains(s.Regions, l.region) {
			continue
		}

		ask(func(ctx context.Context) detection.Sighting { return l.probe(ctx, s) })

		if l.o.Place != l.region && slices.Contains(s.Regions, l.o.Place) {
			ask(func(ctx context.Context) detection.Sighting { return l.link(ctx, s) })
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

// probe asks a primary.
func (l *Lookout) probe(ctx context.Context, s Shard) detection.Sighting {
	out := detection.Sighting{Kind: detection.Probe, Shard: s.ID, Server: s.ID.String() + "@" + l.region}

	in, d, err := l.way(ctx, s, l.region)
	if err != nil {
		out.Saw, out.Why = detection.Unable, fail.Cause(err)
		return out
	}

	c, err := (&net.Dialer{}).DialContext(ctx, "tcp", in.Address)
	if err != nil {
		out.Saw, out.Why = dialled(err), fail.Cause(err)
		return out
	}
	_ = c.Close()

	st, err := d.Reach(ctx, in)
	out.Saw, out.Why = reached(err)

	if err == nil && !st.Writable {
		out.Why = standsBy
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

// reached is what a server's answer says. One that refuses is alive.
func reached(err error) (detection.Saw, string) {
	if err == nil {
		return detection.Alive, ""
	}

	why := fail.Cause(err)

	switch fail.CodeOf(err) {
	case fail.Unavailable, fail.Stalled:
		return detection.Dead, why
	case fail.Denied, fail.NotFound, fail.Unsupported, fail.Conflict:
		return detection.Alive, "it answers: " + why
	}

	return detection.Unable, why
}

// link asks the standby in the lookout's region whether it still gets bytes.
func (l *Lookout) link(ctx context.Context, s Shard) detection.Sighting {
	out := detection.Sighting{Kind: detection.Link, Shard: s.ID, Server: s.ID.String() + "@" + l.o.Place, Saw: detection.Unable}

	k, err := l.linkOf(ctx, s)

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
