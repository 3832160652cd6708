package traffictest

import (
	"context"
	"encoding/json"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/traffic"
)

// Rig is a route with servers in two regions behind it.
type Rig struct {
	// Route leads to East when the suite begins, and is free.
	Route      traffic.Route
	East, West string
	// New makes a driver of the route, as a new process would.
	New func(t *testing.T) traffic.Driver
	// Ask is a client that connects anew through every part of the route, and says in
	// which region it was answered. It waits until ctx ends.
	Ask func(ctx context.Context) (string, error)
	// Session connects a client that stays connected. Nil where there are none.
	Session func(t *testing.T) func(ctx context.Context) (string, error)
	// Seamless: a session sees no error from Hold to Release.
	Seamless bool
	// Cut keeps drivers from a part of the route, and not from all; clients do not
	// notice. It returns what ends that. Nil where a route is one part.
	Cut func(t *testing.T) (mend func())
	// Secret is in no state and in no error.
	Secret string
	// Idle waits until what a killed caller had sent is done. Nil where nothing is on its way.
	Idle func()
	// Rounds is how often a caller is killed.
	Rounds int
}

// limit bounds what is expected to work; no test passes because it ends.
const limit = 2 * time.Minute

// blink is how long the suite looks at clients that wait. A slow machine makes it see
// less and never fail.
const blink = 150 * time.Millisecond

// Run runs the suite.
func Run(t *testing.T, r Rig) {
	for _, c := range []struct {
		name string
		test func(*testing.T, *trial)
		need bool
	}{
		{"it is read as data", readAsData, true},
		{"clients are moved and moved back, and everything is said twice", movedAndBack, r.can(t).Point},
		{"regions without a backend are refused", unknownRegions, true},
		{"what it cannot do is unsupported", cannotDo, true},
		{"clients that come while it is held wait, and are let through to the new side", heldClients, r.can(t).Hold},
		{"a hold that is given up goes on where it was", holdGivenUp, r.can(t).Hold},
		{"it is not opened to another side", notOpenedElsewhere, r.can(t).Point && r.can(t).Hold},
		{"a session goes through a move without an error", seamless, r.Seamless},
		{"nobody gets to the old side once it is isolated", isolated, r.can(t).Isolate},
		{"a part that cannot be reached is an error, and no part stays held", unreachable, r.Cut != nil},
		{"half a move is undone, or done", halfMoved, r.Cut != nil && r.can(t).Point},
		{"who is killed in the middle leaves what another can undo or finish", killed, true},
	} {
		if c.need {
			t.Run(c.name, func(t *testing.T) { c.test(t, begin(t, r)) })
		}
	}
}

func (r Rig) can(t *testing.T) traffic.Abilities {
	t.Helper()
	d := r.New(t)
	defer d.Close()

	return d.Can()
}

// trial is one test: a driver and what was read first. It ends with the route as it was.
type trial struct {
	Rig
	d   traffic.Driver
	ctx context.Context
	was traffic.State
}

func begin(t *testing.T, r Rig) *trial {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), 3*limit)
	x := &trial{Rig: r, ctx: ctx, d: r.New(t)}
	x.was = x.read(t)

	if x.was.Region != r.East || x.was.Held || x.was.Isolated {
		t.Fatalf("the route is not as it was at first: %+v", x.was)
	}

	t.Cleanup(func() {
		x.must(t, "undo", x.d.Undo(ctx, x.was))
		x.like(t, "after undo", x.was)
		x.leads(t, r.East)
		x.d.Close()
		cancel()
	})

	return x
}

func (x *trial) must(t *testing.T, what string, err error) {
	t.Helper()

	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// fails expects an error of one of the codes, which tells no secret.
func (x *trial) fails(t *testing.T, what string, err error, codes ...fail.Code) {
	t.Helper()

	for _, c := range codes {
		if fail.Is(err, c) {
			if x.Secret != "" && strings.Contains(err.Error(), x.Secret) {
				t.Errorf("%s: the error tells the secret: %v", what, err)
			}

			return
		}
	}

	t.Fatalf("%s: got %v, want one of %v", what, err, codes)
}

func (x *trial) read(t *testing.T) traffic.State {
	t.Helper()
	s, err := x.d.Read(x.ctx)
	x.must(t, "read", err)

	return s
}

// like expects the route to be as a state that was read; warnings do not count.
func (x *trial) like(t *testing.T, what string, want traffic.State) {
	t.Helper()

	got := x.read(t)
	got.Warnings, want.Warnings = nil, nil

	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%s:\n got %+v\nwant %+v", what, got, want)
	}
}

// leads expects a client that comes to be answered in a region.
func (x *trial) leads(t *testing.T, region string) {
	t.Helper()

	ctx, cancel := context.WithTimeout(x.ctx, limit)
	defer cancel()

	got, err := x.Ask(ctx)
	if err != nil || got != region {
		t.Fatalf("a client was answered by %q (%v), want %s", got, err, region)
	}
}

// nobody expects that a client that comes is not answered.
func (x *trial) nobody(t *testing.T, what string) {
	t.Helper()

	ctx, cancel := context.WithTimeout(x.ctx, blink)
	defer cancel()

	if got, err := x.Ask(ctx); err == nil {
		t.Fatalf("%s: a client was answered by %s", what, got)
	}
}

func readAsData(t *testing.T, x *trial) {
	b, err := json.Marshal(x.was)
	x.must(t, "marshal", err)

	var again traffic.State
	x.must(t, "unmarshal", json.Unmarshal(b, &again))

	if !reflect.DeepEqual(again, x.was) || again.Route != x.Route.Name || len(again.Parts) == 0 {
		t.Errorf("a journal keeps %+v of %+v", again, x.was)
	}

	if x.Secret != "" && strings.Contains(string(b), x.Secret) {
		t.Errorf("the state tells the secret: %s", b)
	}

	x.leads(t, x.East)
}

func movedAndBack(t *testing.T, x *trial) {
	for range 2 {
		x.must(t, "point", x.d.Point(x.ctx, x.West))
		x.leads(t, x.West)
	}

	if s := x.read(t); s.Region != x.West || s.Held || s.Isolated {
		t.Errorf("read: %+v", s)
	}

	for range 2 {
		x.must(t, "undo", x.d.Undo(x.ctx, x.was))
		x.leads(t, x.East)
	}
}

func unknownRegions(t *testing.T, x *trial) {
	can := x.d.Can()
	if can.Point {
		x.fails(t, "point", x.d.Point(x.ctx, "nowhere"), fail.Invalid)
	}

	if can.Hold && can.Point {
		x.fails(t, "release", x.d.Release(x.ctx, "nowhere", x.was), fail.Invalid, fail.Conflict)
	}

	x.fails(t, "undo", x.d.Undo(x.ctx, traffic.State{Route: x.Route.Name}), fail.Invalid)
}

func cannotDo(t *testing.T, x *trial) {
	can := x.d.Can()
	if !can.Hold {
		x.fails(t, "hold", x.d.Hold(x.ctx), fail.Unsupported)
	}

	if !can.Isolate {
		x.fails(t, "isolate", x.d.Isolate(x.ctx), fail.Unsupported)
	}

	if !can.Point {
		x.fails(t, "point", x.d.Point(x.ctx, x.East), fail.Unsupported)
	}
}

// answer is what a client was told.
type answer struct {
	region string
	err    error
}

// comer is a client that comes now.
func (x *trial) comer() <-chan answer {
	out := make(chan answer, 1)
	go func() {
		region, err := x.Ask(x.ctx)
		out <- answer{region, err}
	}()

	return out
}

// after is the side where the clients of a hold are let through to.
func (x *trial) after() string {
	if x.d.Can().Point {
		return x.West
	}

	return x.East
}

func heldClients(t *testing.T, x *trial) {
	x.must(t, "hold", x.d.Hold(x.ctx))
	x.must(t, "hold again", x.d.Hold(x.ctx))

	if !x.read(t).Held {
		t.Error("it is held and does not say so")
	}

	came := x.comer()
	select {
	case a := <-came:
		t.Fatalf("a client did not wait: %+v", a)
	case <-time.After(blink):
	}

	for range 2 {
		if x.d.Can().Point {
			x.must(t, "point", x.d.Point(x.ctx, x.West))
		}
	}

	if !x.read(t).Held {
		t.Error("pointing it has released it")
	}

	for range 2 {
		x.must(t, "release", x.d.Release(x.ctx, x.after(), x.was))
	}

	if a := <-came; a.err != nil || a.region != x.after() {
		t.Errorf("a client that waited was told %+v, want %s", a, x.after())
	}

	if s := x.read(t); s.Held {
		t.Errorf("read: %+v", s)
	}

	x.leads(t, x.after())
}

func holdGivenUp(t *testing.T, x *trial) {
	x.must(t, "hold", x.d.Hold(x.ctx))
	came := x.comer()

	x.must(t, "undo", x.d.Undo(x.ctx, x.was))

	if a := <-came; a.err != nil || a.region != x.East {
		t.Errorf("a client that waited was told %+v", a)
	}
}

func notOpenedElsewhere(t *testing.T, x *trial) {
	x.must(t, "hold", x.d.Hold(x.ctx))
	x.fails(t, "release", x.d.Release(x.ctx, x.West, x.was), fail.Conflict)
	x.nobody(t, "after a release that was refused")

	if !x.read(t).Held {
		t.Error("a release that was refused has released it")
	}
}

func seamless(t *testing.T, x *trial) {
	ask := x.Session(t)
	stop, done := make(chan struct{}), make(chan []answer)

	go func() {
		var seen []answer
		defer func() { done <- seen }()

		for {
			region, err := ask(x.ctx)
			if n := len(seen); n == 0 || err != nil || seen[n-1].region != region {
				seen = append(seen, answer{region, err})
			}

			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}

			if err != nil {
				return
			}
		}
	}()

	to := x.West
	for range 4 {
		was := x.read(t)
		x.must(t, "hold", x.d.Hold(x.ctx))
		time.Sleep(20 * time.Millisecond)
		x.must(t, "point", x.d.Point(x.ctx, to))
		x.must(t, "release", x.d.Release(x.ctx, to, was))
		x.leads(t, to)
		to = map[string]string{x.West: x.East, x.East: x.West}[to]
	}

	close(stop)

	for _, a := range <-done {
		if a.err != nil {
			t.Errorf("the session saw an error: %v", a.err)
		}
	}
}

func isolated(t *testing.T, x *trial) {
	var ask func(context.Context) (string, error)
	if x.Session != nil {
		ask = x.Session(t)
	}

	for range 2 {
		x.must(t, "isolate", x.d.Isolate(x.ctx))
		x.nobody(t, "isolated")
	}

	if !x.read(t).Isolated {
		t.Error("it is isolated and does not say so")
	}

	if ask != nil {
		ctx, cancel := context.WithTimeout(x.ctx, blink)
		if got, err := ask(ctx); err == nil {
			t.Errorf("a session is still answered by %s", got)
		}

		cancel()
	}

	if !x.d.Can().Point {
		return
	}

	x.must(t, "point", x.d.Point(x.ctx, x.West))
	x.must(t, "release", x.d.Release(x.ctx, x.West, x.was))
	x.leads(t, x.West)
}

func unreachable(t *testing.T, x *trial) {
	mend := x.Cut(t)
	defer mend()

	ctx, cancel := context.WithTimeout(x.ctx, limit)
	defer cancel()

	_, err := x.d.Read(ctx)
	x.fails(t, "read", err, fail.Unavailable, fail.Stalled)

	if x.d.Can().Hold {
		x.fails(t, "hold", x.d.Hold(ctx), fail.Unavailable, fail.Stalled)
		x.leads(t, x.East) // none of its parts stays held
	}

	if x.d.Can().Point {
		x.fails(t, "release", x.d.Release(ctx, x.West, x.was), fail.Conflict, fail.Unavailable, fail.Stalled, fail.Unsupported)
	}

	x.fails(t, "undo", x.d.Undo(ctx, x.was), fail.Unavailable, fail.Stalled)
	mend()
	x.like(t, "after what was refused", x.was)
}

func halfMoved(t *testing.T, x *trial) {
	half := func() {
		t.Helper()

		mend := x.Cut(t)
		x.fails(t, "point", x.d.Point(x.ctx, x.West), fail.Unavailable, fail.Stalled)
		mend()

		if s := x.read(t); s.Region != "" {
			t.Errorf("half a move is told as %q: %+v", s.Region, s)
		}
	}

	half()
	x.must(t, "undo", x.d.Undo(x.ctx, x.was))
	x.like(t, "half a move is undone", x.was)
	x.leads(t, x.East)

	half()
	x.must(t, "point", x.d.Point(x.ctx, x.West))
	x.leads(t, x.West)
}

func killed(t *testing.T, x *trial) {
	for seed := range x.Rounds {
		rng := rand.New(rand.NewPCG(uint64(seed), 1))

		// Who is killed says no more to anybody; what it said may still be done.
		d := x.New(t)
		ctx, cancel := context.WithTimeout(x.ctx, time.Duration(rng.IntN(12_000))*time.Microsecond)
		did := some(ctx, d, rng, x.Rig, x.was)

		cancel()
		d.Close()

		x.d.Close()

		if x.Idle != nil {
			x.Idle()
		}

		x.d = x.New(t)

		if can := x.d.Can(); rng.IntN(2) == 0 && can.Point {
			x.must(t, did+", then point", x.d.Point(x.ctx, x.West))

			if can.Hold || can.Isolate {
				x.must(t, did+", then release", x.d.Release(x.ctx, x.West, x.was))
			}

			x.leads(t, x.West)
		}

		x.must(t, did+", then undo", x.d.Undo(x.ctx, x.was))
		x.like(t, did+", then undo", x.was)
		x.leads(t, x.East)
	}
}

// some does some of a move.
func some(ctx context.Context, d traffic.Driver, rng *rand.Rand, r Rig, was traffic.State) string {
	can, did := d.Can(), "killed in"
	if can.Hold && rng.IntN(3) > 0 {
		did += " hold"
		_ = d.Hold(ctx)
	}

	if can.Isolate && rng.IntN(2) > 0 {
		did += " isolate"
		_ = d.Isolate(ctx)
	}

	if can.Point && rng.IntN(3) > 0 {
		did += " point"
		_ = d.Point(ctx, r.West)

		if (can.Hold || can.Isolate) && rng.IntN(3) > 0 {
			did += " release"
			_ = d.Release(ctx, r.West, was)
		}
	}

	return did
}
