package readiness

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
	"drctl/restore/runs"
	"drctl/targets"
)

// The limits within which status asks: what has not answered by then is said
// not to have answered, and the rest is told.
const (
	instanceLimit = 5 * time.Second
	engineLimit   = 15 * time.Second
	vaultLimit    = 30 * time.Second
)

// Facts are what was found out about a group, before it is judged.
type Facts struct {
	now       time.Time
	group     platform.Group
	instances []Instance
	engine    Engine
	// vaults are those of the policy and of the other regions; deep says that
	// their content was read.
	vaults []vaultFacts
	deep   bool
	checks []checkFacts
	glass  []runs.Glass // that was broken, and not reviewed
	plan   planFacts
	drills drillFacts
}

// Sources are what is asked. Regions are all that the platform has: a vault that
// the policy no longer names may hold what is needed.
type Sources struct {
	Platform platform.Resolver
	Driver   func(targets.Kind) (targets.Driver, error)
	Regions  []string
	// Engine says what runs. It never fails: what could not be asked is in the value.
	Engine func(context.Context, platform.Group) Engine
	// Failover is the plan by which a group would fail over today from a region; nil where
	// nothing is known of plans.
	Failover func(group, from string) Failover
}

// Scope limits what is asked.
type Scope struct {
	// Shallow leaves the vaults' content unread and the instances unmeasured:
	// cheap enough to be asked again and again.
	Shallow bool
	// Region leaves out the instances and vaults of others; "" asks all.
	Region string
}

func (o Scope) has(region string) bool { return o.Region == "" || o.Region == region }

// Gather asks everything at once, each within a limit. It never fails: what does not answer is among the facts.
func Gather(ctx context.Context, s Sources, g platform.Group, o Scope) Facts {
	f := Facts{group: g, deep: !o.Shallow}
	var wg sync.WaitGroup
	wg.Go(func() { f.instances = s.askInstances(ctx, g, o) })
	wg.Go(func() {
		ectx, cancel := context.WithTimeout(ctx, engineLimit)
		defer cancel()
		f.engine = s.Engine(ectx, g)
	})
	wg.Go(func() {
		f.vaults = s.askVaults(ctx, g, o)
		if f.deep {
			f.checks, f.glass = askChecks(ctx, g, f.vaults), runs.Unreviewed(ctx, answered(f.vaults), g.Name)
			f.plan, f.drills = s.askPlan(ctx, g, f.vaults), askDrills(ctx, answered(f.vaults))
		}
	})
	wg.Wait()
	f.now = time.Now()

	return f
}

// askInstances probes every instance and looks at what its user may do.
func (s Sources) askInstances(ctx context.Context, g platform.Group, o Scope) []Instance {
	var mu sync.Mutex
	var wg sync.WaitGroup

	var out []Instance
	for _, sh := range g.Shards {
		for _, region := range s.Platform.Regions(sh.Shard) {
			if !o.has(region) {
				continue
			}

			wg.Go(func() {
				i := s.askInstance(ctx, g, sh, region, o.Shallow)

				mu.Lock()
				defer mu.Unlock()
				out = append(out, i)
			})
		}
	}

	wg.Wait()
	slices.SortFunc(out, func(x, y Instance) int {
		return cmp.Or(x.Shard.Compare(y.Shard), strings.Compare(x.Region, y.Region))
	})

	return out
}

func (s Sources) askInstance(ctx context.Context, g platform.Group, sh platform.Shard, region string, shallow bool) Instance {
	ctx, cancel := context.WithTimeout(ctx, instanceLimit)
	defer cancel()
	i := Instance{Shard: sh.Shard, Region: region}
	in, err := s.Platform.Instance(ctx, sh.Shard, region)

	var d targets.Driver
	if err == nil {
		d, err = s.Driver(sh.Kind)
	}

	if err != nil {
		i.Error, i.err = err.Error(), err
		return i
	}
	// A probe that is denied says one right; the preflight says them all.
	var wg sync.WaitGroup
	if p, ok := d.(targets.Preflighter); ok {
		wg.Go(func() {
			i.Lacks, i.lacksErr = p.Preflight(ctx, in, g.Needs(false))
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
