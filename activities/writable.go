package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

const (
	// probeLimit is how long an instance may take to say whether it is writable,
	// probeGrace how long the others may when one has said that it is: a region
	// that is lost must not hold up every cut.
	probeLimit = 5 * time.Second
	probeGrace = 2 * time.Second
)

// probed is an instance with what it said of itself.
type probed struct {
	in  targets.Instance
	d   targets.Driver
	st  targets.Status
	err error
}

// writable resolves the shard's instance that accepts writes: the configured
// primary, or the one that was promoted since. Of several PostgreSQL servers
// that do, it is the one on the highest timeline of their common cluster: the
// others are former primaries that came back. It is a conflict when that does
// not decide. It returns the configured primary's error when no instance
// accepts writes.
func (a *Activities) writable(ctx context.Context, shard targets.ShardID) (targets.Instance, targets.Driver, error) {
	regions := a.Platform.Regions(shard)
	if len(regions) == 0 {
		return targets.Instance{}, nil, fail.Newf(fail.NotFound, "find the primary", shard.String(), "the configuration names no instance of this shard")
	}
	all := make([]probed, len(regions))
	for i, r := range regions {
		var err error
		if all[i].in, err = a.Platform.Instance(ctx, shard, r); err != nil {
			return all[i].in, nil, err
		}
		if all[i].d, err = a.driver(all[i].in.Kind); err != nil {
			return all[i].in, nil, err
		}
	}
	if len(all) == 1 {
		return all[0].in, all[0].d, nil
	}
	probeAll(ctx, all)
	x, err := choose(all)
	return x.in, x.d, err
}

// probeAll asks every instance at once. One that has not answered in time has
// an error.
func probeAll(ctx context.Context, all []probed) {
	type answer struct {
		i   int
		st  targets.Status
		err error
	}
	ctx, cancel := context.WithTimeout(ctx, probeLimit)
	defer cancel()
	answers := make(chan answer, len(all))
	for i, x := range all {
		all[i].err = fail.Newf(fail.Unavailable, "find the primary", x.in.String(), "the instance does not answer")
		go func() {
			st, err := x.d.Probe(ctx, x.in)
			answers <- answer{i, st, err}
		}()
	}
	var grace <-chan time.Time
	for range all {
		select {
		case r := <-answers:
			all[r.i].st, all[r.i].err = r.st, r.err
			if r.err == nil && r.st.Writable && grace == nil {
				grace = time.After(probeGrace)
			}
		case <-grace:
			return
		}
	}
}

// choose picks the primary; all are in the order of the configuration. Of
// several that accept writes it is the first, but for PostgreSQL, which knows
// which one was promoted last.
func choose(all []probed) (probed, error) {
	var writable []probed
	var first error
	for _, x := range all {
		err := x.err
		if err == nil && x.st.Writable {
			x.in.Role = targets.Primary
			writable = append(writable, x)
			continue
		}
		if err == nil {
			err = fail.New(fail.Unavailable, "find the primary", x.in.String(), "promote a standby, or mend the configuration", errors.New("the instance does not accept writes"))
		}
		if first == nil {
			first = err
		}
	}
	switch {
	case len(writable) == 0:
		return probed{}, first
	case len(writable) == 1 || writable[0].in.Kind != targets.Postgres:
		return writable[0], nil
	}
	return promotedLast(writable)
}

// promotedLast picks the server on the highest timeline.
func promotedLast(writable []probed) (probed, error) {
	var system string
	var best probed
	var highest uint32
	decided := true
	names := make([]string, len(writable))
	for i, x := range writable {
		sys, tli, err := targets.ParsePostgresLineage(x.st.Position.Lineage)
		if err != nil {
			return probed{}, fail.New(fail.Internal, "find the primary", x.in.String(), "", err)
		}
		names[i] = fmt.Sprintf("%s at %s on timeline %d of cluster %s", x.in, x.in.Address, tli, sys)
		if i > 0 && sys != system {
			decided, highest = false, ^uint32(0)
		}
		system = sys
		switch {
		case tli > highest:
			best, highest, decided = x, tli, true
		case tli == highest:
			decided = false
		}
	}
	if !decided {
		return probed{}, fail.New(fail.Conflict, "find the primary", best.in.Shard.String(),
			"stop the wrong one before anything else is written to it", errors.New("more than one server accepts writes: "+strings.Join(names, ", ")))
	}
	return best, nil
}
