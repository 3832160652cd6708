package failover_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/restore/failover"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
)

// shop is a platform with everything that a plan can have.
func shop() failover.Topology {
	both := []string{"east", "west"}
	t := failover.Topology{Group: "shop", Witness: true, Regions: both,
		Services: []failover.Service{
			{Name: "pages", Tier: failover.Edge, Needs: []string{"api"}, Up: plan.Args{HTTP: &plan.HTTP{URL: "https://cdn/purge"}}},
			{Name: "api", Tier: failover.Application, Needs: []string{"orders", "sessions"}, Up: plan.Args{Exec: &plan.Exec{Command: []string{"scale", "api"}}}, Check: &plan.HTTP{URL: "https://api/health"}},
			{Name: "sessions", Tier: failover.Cache, Needs: []string{"orders"}, Up: plan.Args{Warm: &plan.Warm{Exec: &plan.Exec{Command: []string{"warm"}}}}}},
		Routes: []failover.Route{{Name: "pool", For: []string{"orders"}, Holds: true}, {Name: "carts", For: []string{"carts"}}, {Name: "dns", For: []string{"pages", "api"}}}}

	for i := range 3 {
		t.Shards = append(t.Shards, failover.Shard{ID: targets.ShardID{Target: "orders", Shard: fmt.Sprint(i)}, Kind: targets.Postgres, Regions: both})
	}
	t.Shards = append(t.Shards, failover.Shard{ID: targets.ShardID{Target: "carts", Shard: "0"}, Kind: targets.Redis, Regions: both},
		failover.Shard{ID: targets.ShardID{Target: "media", Shard: "0"}, Kind: targets.S3, Regions: both})

	return t
}

func policy(t failover.Topology) failover.Policy {
	p := failover.Policy{From: "east", To: "west", People: 2, Destinations: map[string]plan.Destination{}}
	for _, s := range t.Shards {
		p.Destinations[s.ID.String()] = plan.Destination{Region: "west", Address: "h:5432", DataDir: "/srv/" + s.ID.Shard}
	}

	return p
}

var kinds = []struct {
	mode   plan.Mode
	choice plan.Choice
}{{plan.ModeSwitchover, ""}, {plan.ModeFailback, ""}, {plan.ModeFailover, plan.Newest}, {plan.ModeFailover, plan.Proven}}

func derive(t interface{ Fatal(...any) }, topo failover.Topology, p failover.Policy, m plan.Mode, c plan.Choice) plan.Definition {
	p.Choice = c

	d, err := failover.Derive(topo, p, m)
	if err != nil {
		t.Fatal(err)
	}

	return d
}

// TestDerivedPlansAreClean: whatever the platform looks like, its plan has nothing
// that lint would call an error, and the machine takes it.
func TestDerivedPlansAreClean(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		topo := shop()
		topo.Witness = rapid.Bool().Draw(t, "witness")
		topo.Shards = topo.Shards[:rapid.IntRange(1, len(topo.Shards)).Draw(t, "shards")]
		topo.Services = topo.Services[len(topo.Services)-rapid.IntRange(0, 3).Draw(t, "services"):]
		has := func(name string) bool {
			return slices.ContainsFunc(topo.Shards, func(s failover.Shard) bool { return s.ID.Target == name }) ||
				slices.ContainsFunc(topo.Services, func(s failover.Service) bool { return s.Name == name })
		}

		var routes []failover.Route
		for _, r := range topo.Routes {
			if slices.ContainsFunc(r.For, func(n string) bool { return !has(n) }) {
				continue
			}
			r.Holds = rapid.Bool().Draw(t, "holds")
			routes = append(routes, r)
		}
		topo.Routes = routes
		p := policy(topo)
		p.People = rapid.IntRange(0, 2).Draw(t, "people")

		for i := range topo.Services {
			topo.Services[i].Needs = slices.DeleteFunc(topo.Services[i].Needs, func(n string) bool { return !has(n) })
			if rapid.Bool().Draw(t, "does nothing") {
				topo.Services[i].Up = plan.Args{}
			}
		}

		for _, k := range kinds {
			d := derive(t, topo, p, k.mode, k.choice)
			if found := failover.Lint(d, topo); failover.HasErrors(found) {
				t.Fatalf("%s %s: %+v\n%s", k.mode, k.choice, found, ids(d))
			}

			for _, o := range []plan.Outline{d.Outline(k.mode), d.Outline(k.mode).Folded(), d.Outline(plan.ModeDrill)} {
				if _, err := machine.New(o); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

func ids(d plan.Definition) string {
	var b strings.Builder
	for _, s := range d.Steps {
		fmt.Fprintf(&b, "%s %v\n", s.ID, s.Needs)
	}

	return b.String()
}

// TestABucketWithoutAnotherSide is laid down from the vault in a failover, and
// keeps a switchover from being planned.
func TestABucketWithoutAnotherSide(t *testing.T) {
	topo := shop()
	topo.Shards[4].Regions = []string{"east"}

	d := derive(t, topo, policy(topo), plan.ModeFailover, plan.Newest)
	if s, ok := d.Step("restore-media/0"); !ok || s.Into.Region != "west" {
		t.Errorf("nothing lays the bucket down: %+v", s)
	}

	if found := failover.Lint(d, topo); failover.HasErrors(found) {
		t.Errorf("%+v", found)
	}

	if _, err := failover.Derive(topo, policy(topo), plan.ModeSwitchover); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), "media/0 has no instance in west") {
		t.Errorf("a switchover without a bucket: %v", err)
	}
}

// TestServicesInOrder: one comes up after those that it needs, whatever their names.
func TestServicesInOrder(t *testing.T) {
	topo := shop()
	topo.Services = append(topo.Services, failover.Service{Name: "aaa", Tier: failover.Application, Needs: []string{"api"}, Up: plan.Args{Manual: &plan.Manual{Text: "turn the key"}}})
	d := derive(t, topo, policy(topo), plan.ModeSwitchover, "")

	if s, _ := d.Step("up-aaa"); !slices.Contains(s.Needs, "check-api") || s.Do != plan.OpManual {
		t.Errorf("aaa comes up after %v", s.Needs)
	}

	if s, _ := d.Step("up-api"); !slices.Contains(s.Needs, "warm-sessions") || !slices.Contains(s.Needs, "release-pool") {
		t.Errorf("api comes up after %v", s.Needs)
	}
}

// TestHash: the same platform has the same plan, in whatever order it is named;
// whoever edits it has another.
func TestHash(t *testing.T) {
	for _, k := range kinds {
		topo := shop()
		a := derive(t, topo, policy(topo), k.mode, k.choice).Hash()
		slices.Reverse(topo.Shards)
		slices.Reverse(topo.Services)

		if b := derive(t, topo, policy(topo), k.mode, k.choice).Hash(); a != b {
			t.Errorf("%s: the order of the topology changes the hash", k.mode)
		}
		p := policy(topo)
		p.People = 1

		if b := derive(t, topo, p, k.mode, k.choice).Hash(); a == b {
			t.Errorf("%s: one person fewer and the same hash", k.mode)
		}
	}
}

func TestDeriveRefuses(t *testing.T) {
	for want, spoil := range map[string]func(*failover.Topology, *failover.Policy){
		"for itself":           func(_ *failover.Topology, p *failover.Policy) { p.To = "east" },
		"has no workers":       func(t *failover.Topology, _ *failover.Policy) { t.Regions = []string{"east"} },
		"no shard":             func(t *failover.Topology, _ *failover.Policy) { t.Shards = nil },
		"has no instance":      func(t *failover.Topology, _ *failover.Policy) { t.Shards[0].Regions = []string{"east"} },
		"neither a target":     func(t *failover.Topology, _ *failover.Policy) { t.Routes[0].For = []string{"ghost"} },
		"none of [cache":       func(t *failover.Topology, _ *failover.Policy) { t.Services[0].Tier = "attic" },
		"which comes up later": func(t *failover.Topology, _ *failover.Policy) { t.Services[2].Needs = []string{"pages"} },
		"or its destination":   func(_ *failover.Topology, p *failover.Policy) { p.Choice, p.Destinations = plan.Proven, nil },
		"stand on each other":  func(t *failover.Topology, _ *failover.Policy) { t.Services = ring(t.Services) },
	} {
		topo := shop()
		p := policy(topo)
		spoil(&topo, &p)

		if _, err := failover.Derive(topo, p, plan.ModeFailover); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

func ring(s []failover.Service) []failover.Service {
	return append(s, failover.Service{Name: "x", Tier: failover.Application, Needs: []string{"y"}}, failover.Service{Name: "y", Tier: failover.Application, Needs: []string{"x"}})
}

// TestLintFinds plants one damage after the other in a clean plan.
func TestLintFinds(t *testing.T) {
	topo := shop()
	edit := func(d *plan.Definition, id string, f func(*plan.StepDef)) {
		for i := range d.Steps {
			if plan.Means(id, d.Steps[i].ID) {
				f(&d.Steps[i])
			}
		}
	}
	needs := func(n ...string) func(*plan.StepDef) { return func(s *plan.StepDef) { s.Needs = n } }

	for want, spoil := range map[string]func(*plan.Definition){
		"waits for itself": func(d *plan.Definition) { edit(d, "approve", needs("verify-orders/0")) },
		"a section would wait": func(d *plan.Definition) {
			edit(d, "drain-orders/0", needs("fence-orders/0", "x"))
			edit(d, "tell", func(s *plan.StepDef) { s.ID, s.Needs = "x", []string{"hold-pool"} })
		},
		"without proof of silence":    func(d *plan.Definition) { edit(d, "promote-orders/1", needs("hold-pool")) },
		"drains a primary that still": func(d *plan.Definition) { edit(d, "drain-carts/0", needs("isolate-carts")) },
		"holds everything":            func(d *plan.Definition) { edit(d, "promote-orders/1", needs("fence-*")) },
		"neither held nor isolated": func(d *plan.Definition) {
			edit(d, "fence-*", needs("approve"))
			edit(d, "drain-*", func(s *plan.StepDef) { s.Needs = []string{"fence-" + s.On.String()} })
			edit(d, "drain-media/0", needs("approve"))
		},
		"before it is promoted": func(d *plan.Definition) { edit(d, "switch-pool", needs("hold-pool")) },
		"without being held": func(d *plan.Definition) {
			d.Steps = slices.DeleteFunc(d.Steps, func(s plan.StepDef) bool { return s.ID == "isolate-carts" })
			edit(d, "*", func(s *plan.StepDef) {
				s.Needs = slices.DeleteFunc(s.Needs, func(n string) bool { return n == "isolate-*" })
			})
		},
		"before it was switched":      func(d *plan.Definition) { edit(d, "release-pool", needs("promote-*")) },
		"not marked as one":           func(d *plan.Definition) { edit(d, "promote-*", func(s *plan.StepDef) { s.NoReturn = false }) },
		"has a way back":              func(d *plan.Definition) { edit(d, "promote-orders/0", func(s *plan.StepDef) { s.Undo = &plan.Undo{} }) },
		"nothing makes it end before": func(d *plan.Definition) { edit(d, "promote-orders/0", needs("drain-orders/0")) },
		"orders/2 is left out": func(d *plan.Definition) {
			edit(d, "promote-orders/2", func(s *plan.StepDef) { s.Modes = map[plan.Mode]plan.Behaviour{d.Mode: plan.Skip} })
		},
		"nobody says why": func(d *plan.Definition) {
			edit(d, "tell", func(s *plan.StepDef) { s.Modes = map[plan.Mode]plan.Behaviour{d.Mode: plan.Skip} })
		},
		"route dns is left out": func(d *plan.Definition) {
			d.Steps = slices.DeleteFunc(d.Steps, func(s plan.StepDef) bool { return s.ID == "switch-dns" || s.ID == "release-dns" })
		},
		"service pages is left out":   func(d *plan.Definition) { edit(d, "up-pages", func(s *plan.StepDef) { s.Service = "other" }) },
		"region north has no workers": func(d *plan.Definition) { edit(d, "tell", func(s *plan.StepDef) { s.Region = "north" }) },
		"there is no route": func(d *plan.Definition) {
			edit(d, "hold-pool", func(s *plan.StepDef) { s.With.Reroute.Route = "ghost" })
		},
		"there is no shard":    func(d *plan.Definition) { edit(d, "drain-orders/0", func(s *plan.StepDef) { s.On.Shard = "9" }) },
		"is of kind":           func(d *plan.Definition) { edit(d, "drain-orders/0", func(s *plan.StepDef) { s.Kind = targets.Redis }) },
		"would end in between": func(d *plan.Definition) { edit(d, "tell", func(s *plan.StepDef) { s.IfFails = plan.Stop }) },
		"has no limit":         func(d *plan.Definition) { edit(d, "drain-orders/0", func(s *plan.StepDef) { s.Limit = 0 }) },
		"was not found": func(d *plan.Definition) {
			edit(d, "tell", func(s *plan.StepDef) { s.Do, s.With = plan.OpInclude, plan.Args{Include: &plan.Include{Plan: "ghost"}} })
		},
		"asked inside the section": func(d *plan.Definition) {
			edit(d, "hold-pool", func(s *plan.StepDef) { s.Modes = map[plan.Mode]plan.Behaviour{d.Mode: plan.Ask} })
		},
		"statement is waited for": func(d *plan.Definition) {
			edit(d, "fence-orders/0", func(s *plan.StepDef) { s.With.Fence.By = []string{plan.ByStatement} })
		},
		"of two regions": func(d *plan.Definition) { edit(d, "hold-pool", func(s *plan.StepDef) { s.Region = "east" }) },
	} {
		d := derive(t, topo, policy(topo), plan.ModeSwitchover, "")
		spoil(&d)

		if found := failover.Lint(d, topo); !slices.ContainsFunc(found, func(p failover.Problem) bool { return p.Error && strings.Contains(p.Text, want) }) {
			t.Errorf("%s is not found: %+v", want, found)
		}
	}

	d := derive(t, topo, policy(topo), plan.ModeFailover, plan.Newest)
	edit(&d, "promote-orders/0", needs("fence-*"))

	if found := failover.Lint(d, topo); len(found) != 1 || !strings.Contains(found[0].Text, "neither a feed nor a restore") {
		t.Errorf("a failover without a feed: %+v", found)
	}

	// A fence whose failure stops nothing proves nothing.
	d = derive(t, topo, policy(topo), plan.ModeFailover, plan.Newest)
	edit(&d, "fence-orders/0", func(s *plan.StepDef) { s.IfFails = plan.GoOn })

	if found := failover.Lint(d, topo); !slices.ContainsFunc(found, func(p failover.Problem) bool { return strings.Contains(p.Text, "without proof of silence") }) {
		t.Errorf("a fence that may fail: %+v", found)
	}
}

// TestOverride: what is changed, dropped and added is in the plan, the order of the
// rest stays, and the difference says it all.
func TestOverride(t *testing.T) {
	topo := shop()
	was := derive(t, topo, policy(topo), plan.ModeSwitchover, "")
	before, limit := was.Hash(), 42*time.Second

	is, err := failover.Override(was, failover.Overlay{
		Change: []failover.Change{{Step: "drain-orders/*", Limit: &limit}},
		Drop:   []failover.Drop{{Step: "check-api", Reason: "it has none"}},
		Add: []failover.Added{{StepDef: plan.StepDef{ID: "jobs", Do: plan.OpExec, With: plan.Args{Exec: &plan.Exec{Command: []string{"stop-jobs"}}}, IfFails: plan.Abort, Limit: time.Minute, Needs: []string{"approve"}},
			Before: []string{"hold-*", "isolate-*"}}}})
	if err != nil {
		t.Fatal(err)
	}

	if was.Hash() != before || is.Hash() == before {
		t.Error("the plan that was given has changed, or the new one has the old hash")
	}

	if found := failover.Lint(is, topo); failover.HasErrors(found) {
		t.Errorf("%+v", found)
	}

	if s, _ := is.Step("up-pages"); !slices.Contains(s.Needs, "up-api") || slices.Contains(s.Needs, "check-api") {
		t.Errorf("pages need %v", s.Needs)
	}

	if s, _ := is.Step("hold-pool"); !slices.Contains(s.Needs, "jobs") {
		t.Errorf("the pool is held without jobs being stopped: %v", s.Needs)
	}

	said := fmt.Sprint(failover.Diff(was, is))
	for _, want := range []string{"{drain-orders/2 limit_ns 10000000000 42000000000}", "{jobs  ", "{check-api  ", "{hold-pool needs"} {
		if !strings.Contains(said, want) {
			t.Errorf("the difference lacks %q: %s", want, said)
		}
	}

	if d := failover.Diff(is, is); len(d) > 0 {
		t.Errorf("a plan differs from itself: %v", d)
	}

	for want, o := range map[string]failover.Overlay{
		"no step \"ghost\"":  {Change: []failover.Change{{Step: "ghost"}}},
		"nobody says why":    {Drop: []failover.Drop{{Step: "tell", Reason: " "}}},
		"already":            {Add: []failover.Added{{StepDef: plan.StepDef{ID: "tell"}}}},
		"action \"\" is not": {Add: []failover.Added{{StepDef: plan.StepDef{ID: "new"}}}},
		"for \"x\" to stand": {Add: []failover.Added{{StepDef: plan.StepDef{ID: "x"}, Before: []string{"ghost"}}}},
		"\"ghost\" to drop":  {Drop: []failover.Drop{{Step: "ghost", Reason: "r"}}},
	} {
		if _, err := failover.Override(was, o); !fail.Is(err, fail.Invalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestExpand: an included plan stands where it is included.
func TestExpand(t *testing.T) {
	run := func(id string, needs ...string) plan.StepDef {
		return plan.StepDef{ID: id, Do: plan.OpExec, With: plan.Args{Exec: &plan.Exec{Command: []string{"x"}}}, Needs: needs}
	}
	include := func(id, name string, needs ...string) plan.StepDef {
		return plan.StepDef{ID: id, Do: plan.OpInclude, With: plan.Args{Include: &plan.Include{Plan: name}}, Needs: needs}
	}
	known := map[string]plan.Definition{"mail": {Steps: []plan.StepDef{run("a"), run("b", "a")}}, "ring": {Steps: []plan.StepDef{include("r", "ring")}}}
	look := func(n string) (plan.Definition, bool) { d, ok := known[n]; return d, ok }

	d, err := failover.Expand(plan.Definition{Steps: []plan.StepDef{run("first"), include("mail", "mail", "first"), run("last", "mail")}}, look)
	if err != nil {
		t.Fatal(err)
	}

	if got, want := ids(d), "first []\nmail/a [first]\nmail/b [mail/a]\nlast [mail/*]\n"; got != want {
		t.Errorf("expanded:\n%snot\n%s", got, want)
	}

	if _, err := failover.Expand(known["ring"], look); !fail.Is(err, fail.Invalid) {
		t.Errorf("a ring: %v", err)
	}
}

// TestBucketsComeTogether: a failback brings buckets together that took writes in both regions, before clients
// leave and after it. One that is in one region alone it leaves as it is.
func TestBucketsComeTogether(t *testing.T) {
	media, logs := targets.ShardID{Target: "media", Shard: "0"}, targets.ShardID{Target: "logs", Shard: "0"}
	top := failover.Topology{Group: "shop", Regions: []string{"east", "west"}, Shards: []failover.Shard{
		{ID: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres, Regions: []string{"east", "west"}},
		{ID: media, Kind: targets.S3, Regions: []string{"east", "west"}}, {ID: logs, Kind: targets.S3, Regions: []string{"east"}}}}
	p := failover.Policy{From: "west", To: "east"}

	d, err := failover.Derive(top, p, plan.ModeFailback)
	if err != nil {
		t.Fatal(err)
	}

	before, ok := d.Step("return-media/0")
	if !ok || before.Do != plan.OpReconcile || before.IfFails != plan.AskPeople {
		t.Errorf("%+v", before)
	}

	after, ok := d.Step("reconcile-media/0")
	if !ok || after.Do != plan.OpReconcile || after.IfFails != plan.GoOn || !slices.Contains(after.Needs, "promote-*") {
		t.Errorf("%+v", after)
	}

	if m, ok := d.Step("merge-vaults"); !ok || m.IfFails != plan.GoOn || !slices.Contains(m.Needs, "promote-*") {
		t.Errorf("%+v", m)
	}

	if ready, _ := d.Step("ready-media/0"); !slices.Contains(ready.Needs, "return-media/0") {
		t.Errorf("nothing waits for the first: %+v", ready)
	}

	if x, ok := d.Step("return-logs/0"); !ok || x.Do != plan.OpRejoin {
		t.Errorf("%+v", x)
	}

	if err := d.Check(); err != nil || failover.HasErrors(failover.Lint(d, top)) {
		t.Errorf("%v %+v", err, failover.Lint(d, top))
	}

	for i := range d.Steps {
		if d.Steps[i].ID == "reconcile-media/0" {
			d.Steps[i].On = logs
		}
	}

	if !failover.HasErrors(failover.Lint(d, top)) {
		t.Error("lint has nothing against a bucket without another side")
	}

	top.Shards = slices.DeleteFunc(top.Shards, func(s failover.Shard) bool { return s.ID == logs })

	d, err = failover.Derive(top, failover.Policy{From: "east", To: "west"}, plan.ModeSwitchover)
	if err != nil || slices.ContainsFunc(d.Steps, func(s plan.StepDef) bool { return s.Do == plan.OpReconcile || s.Do == plan.OpMerge }) {
		t.Errorf("a switchover: %v", err)
	}
}

// TestAProvenPlan: the moment and its places are looked at before anything is touched, it is
// settled when the old side is silent, and what makes room can be taken back. Where the policy
// names no place, or one at which nobody looks, it is the instance's own.
func TestAProvenPlan(t *testing.T) {
	topo := shop()
	for i := range topo.Shards {
		topo.Shards[i].Places = map[string]plan.Destination{"west": {Region: "west", Address: "own:1", DataDir: "/own"}}
	}

	p := policy(topo)
	p.Destinations["orders/1"] = plan.Destination{Region: "west", Address: "own:1", DataDir: "/other"}
	d := derive(t, topo, p, plan.ModeFailover, plan.Proven)

	for id, want := range map[string][]string{"place-orders/0": {"moment"}, "bind": {"fence-*", "approve"}, "restore-orders/0": {"bind", "fence-*", "approve"}, "isolate-pool": {"approve"}} {
		if s, ok := d.Step(id); !ok || !slices.Equal(s.Needs, want) {
			t.Errorf("%s needs %v, want %v", id, s.Needs, want)
		}
	}

	for id, dir := range map[string]string{"restore-orders/0": "/own", "restore-orders/1": "/other"} {
		if s, _ := d.Step(id); s.Into.DataDir != dir || s.Undo == nil {
			t.Errorf("%s: %+v", id, s)
		}
	}

	if s, _ := d.Step("resolve-orders/0"); s.With.Resolve == nil || s.With.Resolve.Rule != plan.ResolveList {
		t.Errorf("what the moment has decided is decided again: %+v", s)
	}

	if s, _ := derive(t, topo, p, plan.ModeFailover, plan.Newest).Step("resolve-orders/0"); s.With.Resolve.Rule != plan.ResolveByGroup {
		t.Errorf("%+v", s)
	}
}
