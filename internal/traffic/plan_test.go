package traffic_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/traffic"
	"drctl/targets"
)

var both = []string{"east", "west"}

func planned(name string, kind traffic.Kind, in string, can traffic.Abilities) traffic.Planned {
	return traffic.Planned{Route: traffic.Route{Name: name, Kind: kind, Shard: targets.ShardID{Target: "orders", Shard: "0"}, In: in, Regions: both}, Can: can}
}

// routes are one of each sort.
func routes() []traffic.Planned {
	web := planned("web", traffic.Route53, "", traffic.Abilities{Point: true, Lag: time.Minute})
	web.Route.Shard, web.Route.Service = targets.ShardID{}, "shop-web"
	alone := planned("alone", traffic.PgBouncer, "", traffic.Abilities{Hold: true, Drain: true, Isolate: true})
	alone.Route.Shard.Shard, alone.Route.Regions = "1", nil

	return []traffic.Planned{
		planned("pool-east", traffic.PgBouncer, "east", traffic.Abilities{Hold: true, Drain: true, Isolate: true, Point: true}),
		planned("pool-west", traffic.PgBouncer, "west", traffic.Abilities{Hold: true, Drain: true, Isolate: true, Point: true}),
		planned("proxy", traffic.HAProxy, "", traffic.Abilities{Isolate: true, Point: true}), web, alone,
	}
}

func TestPlanOfASwitchover(t *testing.T) {
	p, err := traffic.MakePlan(routes(), traffic.Move{From: "east", To: "west"})
	if err != nil {
		t.Fatal(err)
	}

	equal(t, "read", p.Read, "pool-east", "pool-west", "proxy", "web", "alone")
	equal(t, "hold", p.Hold, "pool-east", "pool-west", "alone")
	equal(t, "isolate", p.Isolate, "proxy") // who is drained need not be cut off
	equal(t, "point", p.Point, "pool-east", "pool-west", "proxy", "web")
	equal(t, "release", p.Release, "pool-east", "pool-west", "proxy", "alone")

	if len(p.Left) != 0 {
		t.Errorf("left: %v", p.Left)
	}

	warned(t, p, "proxy: clients that are connected see an error", "web: clients may go on to use the old address for up to 1 min",
		"web: clients cannot be kept from east", "no route moves the clients of orders/1")
}

func TestPlanOutOfALostRegion(t *testing.T) {
	p, err := traffic.MakePlan(routes(), traffic.Move{From: "east", To: "west", Lost: true})
	if err != nil {
		t.Fatal(err)
	}

	equal(t, "hold", p.Hold) // it would wait for what is dead
	equal(t, "isolate", p.Isolate, "pool-west", "proxy", "alone")
	equal(t, "point", p.Point, "pool-west", "proxy", "web")
	equal(t, "read", p.Read, "pool-west", "proxy", "web", "alone")

	if len(p.Left) != 1 || p.Left[0].Route != "pool-east" || !strings.Contains(p.Left[0].Why, "lost") {
		t.Errorf("left: %v", p.Left)
	}
}

func TestPlanRefuses(t *testing.T) {
	if _, err := traffic.MakePlan(routes(), traffic.Move{From: "east", To: "north"}); !fail.Is(err, fail.Invalid) {
		t.Errorf("a region without backends: %v", err)
	}

	if _, err := traffic.MakePlan(routes(), traffic.Move{From: "east", To: "east"}); !fail.Is(err, fail.Invalid) {
		t.Errorf("nowhere to go: %v", err)
	}
}

func equal(t *testing.T, what string, got []string, want ...string) {
	t.Helper()

	if !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

func warned(t *testing.T, p traffic.Plan, want ...string) {
	t.Helper()

	for _, w := range want {
		if !slices.ContainsFunc(p.Warnings, func(s string) bool { return strings.HasPrefix(s, w) }) {
			t.Errorf("there is no warning %q in %q", w, p.Warnings)
		}
	}
}

// fake is a driver that writes down what it was told.
type fake struct {
	name string
	can  traffic.Abilities
	fail map[string]error
	mu   *sync.Mutex
	log  *[]string
}

func (f fake) say(ctx context.Context, what string) error {
	// Whoever fails lets the others go first, so that what they do is in the log.
	err := f.fail[what]
	if what == "hold" && err == nil && f.fail["slow"] != nil {
		<-ctx.Done()
		err = fail.FromContext("hold", f.name, ctx.Err())
	}

	f.mu.Lock()
	defer f.mu.Unlock()
	*f.log = append(*f.log, f.name+" "+what)

	return err
}

func (f fake) Can() traffic.Abilities { return f.can }
func (f fake) Close()                 {}
func (f fake) Read(ctx context.Context) (traffic.State, error) {
	return traffic.State{Route: f.name}, f.say(ctx, "read")
}
func (f fake) Hold(ctx context.Context) error            { return f.say(ctx, "hold") }
func (f fake) Isolate(ctx context.Context) error         { return f.say(ctx, "isolate") }
func (f fake) Point(ctx context.Context, _ string) error { return f.say(ctx, "point") }
func (f fake) Release(ctx context.Context, _ string, _ traffic.State) error {
	return f.say(ctx, "release")
}
func (f fake) Undo(ctx context.Context, _ traffic.State) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}

	return f.say(ctx, "undo")
}

func set(fails map[string]map[string]error) (traffic.Set, *[]string) {
	log, mu := &[]string{}, &sync.Mutex{}

	var s traffic.Set
	for _, r := range routes() {
		s = append(s, traffic.Bound{Route: r.Route, Driver: fake{r.Route.Name, r.Can, fails[r.Route.Name], mu, log}})
	}

	return s, log
}

func said(log *[]string, what string) []string {
	var out []string
	for _, l := range *log {
		if name, w, _ := strings.Cut(l, " "); w == what {
			out = append(out, name)
		}
	}

	slices.Sort(out)

	return out
}

var down = fail.New(fail.Unavailable, "traffic: hold", "pool-west", "", errors.New("it is down"))

func TestAHoldIsOfAllOrNone(t *testing.T) {
	// One fails; one waits for a transaction that does not end, and is given up for it.
	s, log := set(map[string]map[string]error{"pool-west": {"hold": down}, "alone": {"slow": down}})

	was, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	if err := s.Hold(t.Context(), was); !fail.Is(err, fail.Unavailable) {
		t.Errorf("hold: %v", err)
	}

	equal(t, "undone", said(log, "undo"), "alone", "pool-east", "pool-west")
}

func TestAHoldThatCannotBeLetGoSaysSo(t *testing.T) {
	s, _ := set(map[string]map[string]error{"pool-west": {"hold": down}, "pool-east": {"undo": down}})

	was, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	// Its time is up, and it is let go all the same.
	ctx, cancel := context.WithCancel(t.Context())
	cancel()

	if err := s.Hold(ctx, was); err == nil || !strings.Contains(err.Error(), "not all routes could be released") {
		t.Errorf("hold: %v", err)
	}
}

func TestASetDoesWhatItsRoutesCan(t *testing.T) {
	s, log := set(map[string]map[string]error{"proxy": {"point": down, "isolate": down}, "web": {"point": down}})

	was, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	if err := s.Isolate(t.Context()); !fail.Is(err, fail.Unavailable) {
		t.Errorf("isolate: %v", err)
	}

	// Both failures are told.
	if err := s.Point(t.Context(), "west"); !fail.Is(err, fail.Unavailable) || strings.Count(err.Error(), "it is down") != 2 {
		t.Errorf("point: %v", err)
	}

	if err := errors.Join(s.Release(t.Context(), "west", was), s.Undo(t.Context(), was)); err != nil {
		t.Error(err)
	}

	equal(t, "isolated", said(log, "isolate"), "alone", "pool-east", "pool-west", "proxy")
	equal(t, "pointed", said(log, "point"), "pool-east", "pool-west", "proxy", "web")
	equal(t, "released", said(log, "release"), "alone", "pool-east", "pool-west", "proxy")
	equal(t, "undone", said(log, "undo"), "alone", "pool-east", "pool-west", "proxy", "web")

	if got := s.Named([]string{"web", "proxy", "nobody"}); len(got) != 2 || got[0].Route.Name != "proxy" {
		t.Errorf("named: %v", got)
	}
}

func TestStatesAreSummedUp(t *testing.T) {
	east, west := traffic.Part{Name: "a", Region: "east", Held: true}, traffic.Part{Name: "b", Region: "west", Held: true, Isolated: true}
	for _, c := range []struct {
		parts []traffic.Part
		want  traffic.State
	}{
		{nil, traffic.State{}},
		{[]traffic.Part{east}, traffic.State{Region: "east", Held: true}},
		{[]traffic.Part{east, west}, traffic.State{Held: true}},
		{[]traffic.Part{west, west}, traffic.State{Region: "west", Held: true, Isolated: true}},
		{[]traffic.Part{east, west, east}, traffic.State{Held: true}},
	} {
		if s := traffic.NewState("r", c.parts); s.Region != c.want.Region || s.Held != c.want.Held || s.Isolated != c.want.Isolated {
			t.Errorf("%v: %+v", c.parts, s)
		}
	}
}
