package simulate_test

import (
	"context"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"

	"drctl/drills/simulate"
	"drctl/restore/failover"
	"drctl/restore/plan"
	"drctl/targets"
)

func shop() failover.Topology {
	both := []string{"east", "west"}
	t := failover.Topology{Group: "shop", Witness: true, Regions: both,
		Services: []failover.Service{{Name: "api", Tier: failover.Application, Needs: []string{"orders"}, Up: plan.Args{Exec: &plan.Exec{Command: []string{"scale"}}}, Check: &plan.HTTP{URL: "https://api/health"}}},
		Routes:   []failover.Route{{Name: "pool", For: []string{"orders"}, Holds: true}, {Name: "carts", For: []string{"carts"}}, {Name: "dns", For: []string{"api"}}}}

	for i := range 2 {
		t.Shards = append(t.Shards, failover.Shard{ID: targets.ShardID{Target: "orders", Shard: strconv.Itoa(i)}, Kind: targets.Postgres, Regions: both})
	}
	t.Shards = append(t.Shards, failover.Shard{ID: targets.ShardID{Target: "carts", Shard: "0"}, Kind: targets.Redis, Regions: both},
		failover.Shard{ID: targets.ShardID{Target: "media", Shard: "0"}, Kind: targets.S3, Regions: both})

	return t
}

func derive(t *testing.T, topo failover.Topology, m plan.Mode, c plan.Choice) plan.Definition {
	p := failover.Policy{From: "east", To: "west", People: 2, Choice: c, Destinations: map[string]plan.Destination{}}
	for _, s := range topo.Shards {
		p.Destinations[s.ID.String()] = plan.Destination{Region: "west", DataDir: "/srv/x"}
	}

	d, err := failover.Derive(topo, p, m)
	if err != nil {
		t.Fatal(err)
	}

	return d
}

func many(t *testing.T, d plan.Definition, topo failover.Topology, m plan.Mode, bug simulate.Bug, n int) simulate.Summary {
	tb, err := simulate.Lay(d, topo, m, bug)
	if err != nil {
		t.Fatal(err)
	}

	s, err := tb.Many(context.Background(), 1, n)
	if err != nil {
		t.Fatal(err)
	}

	return s
}

var kinds = []struct {
	mode   plan.Mode
	choice plan.Choice
}{{plan.ModeSwitchover, ""}, {plan.ModeFailover, plan.Newest}, {plan.ModeFailover, plan.Proven}, {plan.ModeFailback, ""}}

// TestDerivedPlansAreSound plays 10,000 schedules of the plans that are derived.
func TestDerivedPlansAreSound(t *testing.T) {
	topo := shop()

	for _, k := range kinds {
		s := many(t, derive(t, topo, k.mode, k.choice), topo, k.mode, "", 2500)
		t.Logf("%s %s: reached %d, taken back %d, parted %d, faults %d", k.mode, k.choice, s.Reached, s.TakenBack, s.Parted, s.Faults)

		for _, f := range s.Findings {
			t.Errorf("%s %s: seed %d: %v", k.mode, k.choice, f.Seed, f.Violated)
		}

		if s.Reached == 0 || s.TakenBack == 0 || s.Faults < s.Schedules/2 {
			t.Errorf("%s: the schedules are no trial: %+v", k.mode, s)
		}
	}

	d := derive(t, topo, plan.ModeFailover, plan.Newest)
	if s := many(t, d, topo, plan.ModeDrill, "", 200); !s.Sound() {
		t.Errorf("a rehearsal: %+v", s.Findings)
	}
}

// TestPlantedBugsAreFound: each in a few hundred schedules, and by its own name.
func TestPlantedBugsAreFound(t *testing.T) {
	topo := shop()

	for _, x := range []struct {
		bug  simulate.Bug
		mode plan.Mode
		want string
	}{
		{simulate.NoProof, plan.ModeFailover, "without proof"},
		{simulate.FalseEnd, plan.ModeFailover, "log that the vault holds"},
		{simulate.LateUndo, plan.ModeSwitchover, "two writable primaries"},
		{simulate.LateUndo, plan.ModeFailover, "two writable primaries"},
		{simulate.EarlyReroute, plan.ModeSwitchover, "takes no writes"},
		{simulate.EarlyReroute, plan.ModeFailover, "takes no writes"},
	} {
		s := many(t, derive(t, topo, x.mode, ""), topo, x.mode, x.bug, 600)
		if !slices.ContainsFunc(s.Findings, func(r simulate.Result) bool { return strings.Contains(strings.Join(r.Violated, " "), x.want) }) {
			t.Errorf("%s in a %s is not found: %+v", x.bug, x.mode, s)
		}
	}
}

// TestPlansOfPeopleAreFound: what lint says of a plan is no mere opinion.
func TestPlansOfPeopleAreFound(t *testing.T) {
	topo := shop()
	edit := func(d plan.Definition, begin string, f func(*plan.StepDef)) plan.Definition {
		d.Steps = slices.Clone(d.Steps)
		for i := range d.Steps {
			if strings.HasPrefix(d.Steps[i].ID, begin) {
				f(&d.Steps[i])
			}
		}

		return d
	}
	d := derive(t, topo, plan.ModeSwitchover, "")

	for want, bad := range map[string]plan.Definition{
		"acknowledged writes": edit(d, "promote-orders/0", func(s *plan.StepDef) { s.Needs = []string{"fence-*"} }),
		"without proof":       edit(d, "promote-orders/0", func(s *plan.StepDef) { s.Needs = []string{"hold-pool"} }),
		"two writable":        edit(d, "promote-orders/0", func(s *plan.StepDef) { s.Needs = []string{"drain-orders/0"}; s.NoReturn = false }),
		"in between":          edit(d, "switch-dns", func(s *plan.StepDef) { s.IfFails, s.Retry = plan.Stop, plan.Retry{} }),
		"when nothing goes":   edit(d, "drain-orders/0", func(s *plan.StepDef) { s.Needs = nil }),
	} {
		if s := many(t, bad, topo, d.Mode, "", 600); !slices.ContainsFunc(s.Findings, func(r simulate.Result) bool { return strings.Contains(strings.Join(r.Violated, " "), want) }) {
			t.Errorf("%s is not found: %+v", want, s)
		}
	}
}

// TestSeedsRepeat: a schedule is its seed.
func TestSeedsRepeat(t *testing.T) {
	topo := shop()

	tb, err := simulate.Lay(derive(t, topo, plan.ModeFailover, ""), topo, plan.ModeFailover, simulate.FalseEnd)
	if err != nil {
		t.Fatal(err)
	}

	for seed := range uint64(40) {
		a, b := tb.Play(seed, true), tb.Play(seed, true)
		if !reflect.DeepEqual(a, b) || len(a.Trace) == 0 {
			t.Fatalf("seed %d goes two ways", seed)
		}
	}

	one, err := tb.Many(context.Background(), 1, 50)
	if err != nil {
		t.Fatal(err)
	}

	if two, _ := tb.Many(context.Background(), 1, 50); !reflect.DeepEqual(one, two) {
		t.Error("many schedules go two ways")
	}

	ctx, cancel := context.WithCancel(context.Background())
	cancel()

	if _, err := tb.Many(ctx, 1, 1e6); err == nil {
		t.Error("nothing stops it")
	}
}
