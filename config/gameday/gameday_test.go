package gameday

import (
	"strings"
	"testing"
)

// Every mistake is named at its key.
func TestCheck(t *testing.T) {
	facts := Facts{Platform: "shop", Regions: []string{"east", "west"}, Servers: map[Place]bool{{"orders/0", "east"}: true, {"orders/0", "west"}: true, {"carts/0", "west"}: false}}
	good := func() *GameDay {
		return &GameDay{Run: "failover", Faults: []Fault{{At: Before, Do: Stop, On: "orders/0@east"}}, Expect: []Expectation{{Verdict: "reached"}}}
	}

	for _, c := range []struct {
		name, key string
		change    func(*GameDay)
	}{
		{"all is well", "", func(*GameDay) {}},
		{"a region that is not there", "to", func(g *GameDay) { g.To = "north" }},
		{"another platform", "production", func(g *GameDay) { g.Production = "shop2" }},
		{"a program without a path", "tell", func(g *GameDay) { g.Tell = []string{"mail"} }},
		{"no moment", "faults.0.at", func(g *GameDay) { g.Faults[0].At = "later" }},
		{"a step of nothing", "faults.0.at", func(g *GameDay) { g.Run, g.Faults[0].At, g.Expect = None, "step:x", []Expectation{{Problem: "x"}} }},
		{"a program that nothing undoes", "faults.0", func(g *GameDay) {
			g.Faults[0] = Fault{At: Before, Do: Exec, On: "region:east", Exec: []string{"/bin/true"}}
		}},
		{"a server that is not there", "faults.0.on", func(g *GameDay) { g.Faults[0].On = "orders/1@east" }},
		{"a server whose directory nobody knows", "faults.0.on", func(g *GameDay) { g.Faults[0].On = "carts/0@west" }},
		{"a region with such a server", "faults.0.on", func(g *GameDay) { g.Faults[0].On = "region:west" }},
		{"no place", "faults.0.on", func(g *GameDay) { g.Faults[0].On = "orders/0" }},
		{"a check that asks nothing", "expect.0", func(g *GameDay) { g.Expect[0] = Expectation{} }},
		{"a check that asks two things", "expect.0", func(g *GameDay) { g.Expect[0].Problem = "x" }},
		{"a stop by the journal", "stop.0", func(g *GameDay) { g.Stop = []Expectation{{Verdict: "parted"}} }},
		{"a red check that is no alarm", "red", func(g *GameDay) { g.Red = &Expectation{Verdict: "reached"} }},
		{"a red drill without a fault", "red", func(g *GameDay) { g.Red, g.Faults = &Expectation{Problem: "x", On: "orders/0@east"}, nil }},
		{"a red drill that plants when the recovery has done something", "red", func(g *GameDay) {
			g.Red, g.Faults[0].At = &Expectation{Problem: "x", On: "orders/0@east"}, After
		}},
		{"a red check of whatever has the problem", "red.on", func(g *GameDay) { g.Red = &Expectation{Problem: "x"} }},
		{"a stop that is asked afterwards", "stop.0.after", func(g *GameDay) { g.Stop = []Expectation{{Problem: "x", After: true}} }},
		{"a drill that cannot fail", "expect", func(g *GameDay) { g.Run, g.Expect = None, nil }},
		{"a journal of no recovery", "expect.0", func(g *GameDay) { g.Run = None }},
		{"a detection of no region", "expect.0.on", func(g *GameDay) { g.Expect[0] = Expectation{Detection: "lost"} }},
	} {
		g := good()
		c.change(g)

		var keys []string
		for _, p := range g.Check(facts) {
			keys = append(keys, p.Key)
		}

		if got := strings.Join(keys, " "); got != c.key {
			t.Errorf("%s: %q, want %q", c.name, got, c.key)
		}
	}
}
