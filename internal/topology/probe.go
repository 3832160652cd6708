package topology

import (
	"context"
	"log/slog"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/targets"
)

const (
	// probeLimit is how long an instance may take to say whether it is writable,
	// probeGrace how long the others may when one has said that it is: a region
	// that is lost must not hold up every cut.
	probeLimit = 5 * time.Second
	probeGrace = 2 * time.Second
)

// Finder finds the primaries of a platform.
type Finder struct {
	Platform platform.Resolver
	Driver   func(targets.Kind) (targets.Driver, error)
	Log      *slog.Logger
}

// Primary resolves the shard's instance that accepts writes, and its driver: the
// configured primary, or the one that was promoted since, as Elect decides. An
// only instance is not asked.
func (f Finder) Primary(ctx context.Context, shard targets.ShardID) (targets.Instance, targets.Driver, error) {
	regions := f.Platform.Regions(shard)
	if len(regions) == 0 {
		return targets.Instance{}, nil, fail.Newf(fail.NotFound, op, shard.String(), "the configuration names no instance of this shard")
	}

	instances, drivers := make([]targets.Instance, len(regions)), map[targets.Kind]targets.Driver{}
	for i, r := range regions {
		in, err := f.Platform.Instance(ctx, shard, r)
		if err != nil {
			return in, nil, err
		}

		if drivers[in.Kind], err = f.Driver(in.Kind); err != nil {
			return in, nil, err
		}
		instances[i] = in
	}

	if len(instances) == 1 {
		return instances[0], drivers[instances[0].Kind], nil
	}

	servers := Probe(ctx, instances, drivers)

	primary, err := Elect(servers)
	if err != nil {
		return targets.Instance{}, nil, err
	}

	if text := SplitBrain(servers); text != "" {
		f.Log.WarnContext(ctx, text, "shard", shard.String())
	}

	return primary.Instance, drivers[primary.Instance.Kind], nil
}

// Probe asks every instance at once; the answers are in the order of the
// instances. One that has not answered in time has an error. There must be a
// driver for each.
func Probe(ctx context.Context, instances []targets.Instance, drivers map[targets.Kind]targets.Driver) []Server {
	type answer struct {
		i   int
		st  targets.Status
		err error
	}

	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()

	out := make([]Server, len(instances))

	answers := make(chan answer, len(instances))
	for i, in := range instances {
		out[i] = Server{Instance: in, Err: fail.Newf(fail.Unavailable, op, in.String(), "the instance does not answer")}
		go func() {
			st, err := drivers[in.Kind].Reach(ctx, in)
			answers <- answer{i, st, err}
		}()
	}

	var grace <-chan time.Time
	for range instances {
		select {
		case a := <-answers:
			out[a.i].Status, out[a.i].Err = a.st, a.err
			if out[a.i].writable() && grace == nil {
				grace = time.After(probeGrace)
			}
		case <-grace:
			return out
		}
	}

	return out
}
