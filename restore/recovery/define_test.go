package recovery_test

import (
	"slices"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

func members(names ...string) (out []recovery.Member) {
	for _, n := range names {
		id, err := targets.ParseShardID(n)
		if err != nil {
			panic(err)
		}
		out = append(out, recovery.Member{Shard: id, Kind: targets.Postgres})
	}

	return out
}

// A definition is the same whatever is recovered to and when, and another one as
// soon as somebody edits what is done.
func TestDefinitionHasAStableHash(t *testing.T) {
	goal := plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "west", Into: plan.Sandbox, Order: []string{"orders"}}

	one, err := recovery.Build(goal, plan.ModeRestore, example(), later)
	if err != nil {
		t.Fatal(err)
	}

	two, err := recovery.Build(goal, plan.ModeRestore, example(), later.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}

	if one.Definition == "" || one.Definition != two.Definition || one.Hash == two.Hash {
		t.Errorf("definitions %s and %s, runs %s and %s", one.Definition, two.Definition, one.Hash, two.Hash)
	}

	def := func(edit func(*plan.Goal), mode plan.Mode, names ...string) string {
		g := goal
		edit(&g)

		d, err := recovery.Define(g, mode, members(names...))
		if err != nil {
			t.Fatal(err)
		}

		return d.Hash()
	}
	all := []string{"orders/0", "orders/1", "carts/0"}

	as := def(func(*plan.Goal) {}, plan.ModeRestore, all...)
	if def(func(g *plan.Goal) { g.Cut, g.Vault, g.At = "", "east", later }, plan.ModeRestore, "carts/0", "orders/1", "orders/0") != as {
		t.Error("another cut, vault or order of the same shards makes another definition")
	}

	for name, other := range map[string]string{
		"the order":        def(func(g *plan.Goal) { g.Order = []string{"carts"} }, plan.ModeRestore, all...),
		"the mode":         def(func(*plan.Goal) {}, plan.ModeDrill, all...),
		"the shards":       def(func(*plan.Goal) {}, plan.ModeRestore, all[1:]...),
		"in place":         def(func(g *plan.Goal) { g.Delta = true }, plan.ModeRestore, all...),
		"the group":        def(func(g *plan.Goal) { g.Group = "other" }, plan.ModeRestore, all...),
		"the destinations": def(into("/a"), plan.ModeRestore, "orders/0"),
		"a destination":    def(into("/b"), plan.ModeRestore, "orders/0"),
	} {
		if other == as {
			t.Errorf("%s was edited, and the definition has the same hash", name)
		}
	}

	if def(into("/a"), plan.ModeRestore, "orders/0") == def(into("/b"), plan.ModeRestore, "orders/0") {
		t.Error("another destination makes no other definition")
	}
}

func into(dir string) func(*plan.Goal) {
	return func(g *plan.Goal) {
		g.Into, g.Destinations = plan.Instances, map[string]plan.Destination{"orders/0": {Region: "west", DataDir: dir}}
	}
}

// The order between targets costs one name, however many shards they have.
func TestDefinitionOrder(t *testing.T) {
	goal := plan.Goal{Group: "shop", Into: plan.Sandbox, Order: []string{"carts", "none", "orders"}}

	d, err := recovery.Define(goal, plan.ModeRestore, members("media/0", "orders/1", "orders/0", "carts/0", "other/0"))
	if err != nil {
		t.Fatal(err)
	}

	want := map[string][]string{"restore-carts/0": nil, "restore-orders/0": {"restore-carts/*"}, "restore-orders/1": {"restore-carts/*"},
		"restore-media/0": {"restore-orders/*"}, "restore-other/0": {"restore-orders/*"}}
	for _, s := range d.Steps[:5] {
		if !slices.Equal(s.Needs, want[s.ID]) {
			t.Errorf("%s needs %v, want %v", s.ID, s.Needs, want[s.ID])
		}
	}

	goal.Into = plan.Instances
	if _, err := recovery.Define(goal, plan.ModeRestore, members("carts/0")); !fail.Is(err, fail.Invalid) {
		t.Errorf("without a destination: %v", err)
	}
}
