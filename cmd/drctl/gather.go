package main

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/targets"
	"drctl/targets/all"
)

// The limits within which status asks: what has not answered by then is said
// not to have answered, and the rest is told.
const (
	instanceLimit = 5 * time.Second
	engineLimit   = 15 * time.Second
	vaultLimit    = 30 * time.Second
)

// facts are what was found out about a group, before it is judged.
type facts struct {
	now       time.Time
	group     platform.Group
	instances []instanceStatus
	engine    engineFacts
	// vaults are those of the policy and of the other regions; deep says that
	// their content was read.
	vaults []vaultFacts
	deep   bool
	checks []checkFacts
}

// scope limits what is asked.
type scope struct {
	// shallow leaves the vaults' content unread and the instances unmeasured:
	// cheap enough to be asked again and again.
	shallow bool
	// region leaves out the instances and vaults of others; "" asks all.
	region string
}

func (o scope) has(region string) bool { return o.region == "" || o.region == region }

// gather asks everything at once. It never fails: what does not answer is among the facts.
func (s *session) gather(ctx context.Context, g platform.Group, o scope) facts {
	f := facts{group: g, deep: !o.shallow}
	var wg sync.WaitGroup
	wg.Go(func() { f.instances = s.askInstances(ctx, g, o) })
	wg.Go(func() {
		ectx, cancel := context.WithTimeout(ctx, engineLimit)
		defer cancel()
		f.engine = s.askEngine(ectx, g)
	})
	wg.Go(func() {
		f.vaults = s.askVaults(ctx, g, o)
		if f.deep {
			f.checks = askChecks(ctx, g, f.vaults)
		}
	})
	wg.Wait()
	f.now = time.Now()
	return f
}

func (s *session) drivers() map[targets.Kind]targets.Driver {
	out := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: s.p.tools, Log: s.log}) {
		out[d.Kind()] = d
	}
	return out
}

// askInstances probes every instance and looks at what its user may do.
func (s *session) askInstances(ctx context.Context, g platform.Group, o scope) []instanceStatus {
	drivers := s.drivers()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var out []instanceStatus
	for _, sh := range g.Shards {
		for _, region := range s.p.Regions(sh.Shard) {
			if !o.has(region) {
				continue
			}
			wg.Go(func() {
				i := s.askInstance(ctx, g, drivers[sh.Kind], sh.Shard, region, o.shallow)
				mu.Lock()
				defer mu.Unlock()
				out = append(out, i)
			})
		}
	}
	wg.Wait()
	slices.SortFunc(out, func(x, y instanceStatus) int {
		return cmp.Or(x.Shard.Compare(y.Shard), strings.Compare(x.Region, y.Region))
	})
	return out
}

func (s *session) askInstance(ctx context.Context, g platform.Group, d targets.Driver, shard targets.ShardID, region string, shallow bool) instanceStatus {
	ctx, cancel := context.WithTimeout(ctx, instanceLimit)
	defer cancel()
	i := instanceStatus{Shard: shard, Region: region}
	in, err := s.p.Instance(ctx, shard, region)
	if err != nil {
		i.Error, i.err = err.Error(), err
		return i
	}
	// A probe that is denied says one right; the preflight says them all.
	var wg sync.WaitGroup
	if p, ok := d.(targets.Preflighter); ok {
		wg.Go(func() {
			i.Lacks, i.lacksErr = p.Preflight(ctx, in, targets.Needs{Group: g.Name})
		})
	}
	if shallow {
		i.Status, err = d.Reach(ctx, in)
	} else {
		i.Status, err = d.Probe(ctx, in)
	}
	wg.Wait()
	if errors.Is(err, context.DeadlineExceeded) {
		err = fail.New(fail.Stalled, "probe", in.String(), "check that the server is up and reachable from here", errors.New("it did not answer within "+instanceLimit.String()))
	}
	if err != nil {
		i.Error, i.err = err.Error(), err
	}
	return i
}
