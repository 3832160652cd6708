package cutting

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/moment"
	"drctl/internal/platform"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/vault"
	"drctl/targets"
)

// driver is one whose servers let themselves be locked. Real servers are in the
// drivers' tests, in those of internal/moment, and in the scenarios of the commands.
type driver struct{ targets.Driver }

type joined struct{ in targets.Instance }

func (driver) Join(_ context.Context, in targets.Instance, _ targets.JoinRequest) (targets.Member, error) {
	return joined{in}, nil
}

func (joined) LockGate(context.Context, time.Duration) error { return nil }
func (joined) Lock(context.Context, time.Duration) error     { return nil }
func (joined) Unlock(context.Context) error                  { return nil }
func (j joined) Mark(context.Context) (targets.Position, error) {
	return targets.Position{Kind: j.in.Kind, Timeline: "t", Offset: 1}, nil
}
func (joined) Release(context.Context) error { return nil }
func (joined) Settle(context.Context) error  { return nil }
func (joined) Close()                        {}

// ask is for a cut of two shards, of which some are down.
func ask(mode targets.Modes, down ...string) Ask {
	g := platform.Group{Name: "shop", Policy: platform.Policy{Mode: mode, Look: time.Millisecond}}
	for _, name := range []string{"0", "1"} {
		g.Shards = append(g.Shards, platform.Shard{Shard: targets.ShardID{Target: "orders", Shard: name}, Kind: targets.Postgres})
	}

	return Ask{Group: g, Set: vault.Set{Vaults: []*vault.Vault{nil}}, Log: slog.New(slog.DiscardHandler), Flush: func(map[targets.ShardID]targets.Position) <-chan struct{} { return nil },
		Primary: func(_ context.Context, s targets.ShardID) (targets.Instance, targets.Driver, error) {
			if slices.Contains(down, s.Shard) {
				return targets.Instance{}, nil, fail.New(fail.Unavailable, "connect", s.String(), "", errors.New("connection refused"))
			}

			return targets.Instance{Kind: targets.Postgres, Shard: s}, driver{}, nil
		}}
}

// A shard that is down ends a cut, by name, unless the policy wants one of the rest: then
// the cut says what it lacks.
func TestAShardThatIsDown(t *testing.T) {
	var c Cutter

	a := ask("locks", "1")
	if _, err := c.Take(t.Context(), a); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "orders/1") {
		t.Errorf("refuse: %v", err)
	}

	a.Group.Policy.Partial = allowPartial

	cut, err := c.Take(t.Context(), a)
	if err != nil || !cut.Partial() || len(cut.Shards) != 1 || cut.Without[0].Shard.Shard != "1" || !strings.Contains(cut.Without[0].Why, "connection refused") {
		t.Errorf("allow: %+v, %v", cut, err)
	}

	a = ask("locks", "0", "1")
	a.Group.Policy.Partial = allowPartial

	if _, err := c.Take(t.Context(), a); !fail.Is(err, fail.Unavailable) {
		t.Errorf("a cut of nothing: %v", err)
	}
}

// Where nobody observes there is no cut, and nothing is locked; unless the mode names the
// locks: then the cut is locked, and says why it is no better.
func TestWithoutAnObserver(t *testing.T) {
	var c Cutter

	for _, mode := range []targets.Modes{"", "auto", "tagged", "gate", "tagged+two-phase"} {
		if cut, err := c.Take(t.Context(), ask(mode)); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "nobody observes") {
			t.Errorf("mode %q: %+v, %v", mode, cut, err)
		}
	}

	a := ask("tagged+locks")
	a.Group.Policy.Accept = "proven"

	if cut, err := c.Take(t.Context(), a); err == nil {
		t.Errorf("a locked cut where only a proven one counts: %+v", cut)
	}

	for mode, whys := range map[targets.Modes]int{"locks": 0, "share": 0, "tagged+locks": 1} {
		cut, err := c.Take(t.Context(), ask(mode))
		if err != nil || cut.Grade() != targets.Locked || len(cut.Shards) != 2 || len(cut.Why) != whys {
			t.Errorf("mode %q: %+v, %v", mode, cut, err)
		}
	}
}

func TestPolicyOf(t *testing.T) {
	for mode, want := range map[targets.Modes][]string{"auto": nil, "tagged+two-phase": {"tagged", "two-phase"}, "gate+locks": {"gate"}, "locks": {"locks"}, "share": {"locks"}} {
		got := PolicyOf(platform.Policy{Mode: mode, HalfDone: time.Second, GIDs: "x"})
		if !slices.Equal(got.Modes, want) || got.Limit != time.Second || got.GIDs != "x" {
			t.Errorf("%s: %+v", mode, got)
		}
	}

	if got := PolicyOf(platform.Policy{Mode: "auto", Accept: "proven"}).Grades; !slices.Equal(got, []targets.Grade{targets.Proven}) {
		t.Errorf("accept proven: %v", got)
	}

	if got := PolicyOf(platform.Policy{Mode: "auto", Accept: "ordered"}).Grades; !slices.Equal(got, []targets.Grade{targets.Proven, targets.Ordered}) {
		t.Errorf("accept ordered: %v", got)
	}
}

// Redis masters are paused where one of them was in the way of a cut, and not before: a pause lets
// customers wait.
func TestMastersArePausedWhereTheyAreInTheWay(t *testing.T) {
	master := targets.ShardID{Target: "carts", Shard: "0"}
	shard := targets.ShardID{Target: "orders", Shard: "0"}
	g := platform.Group{Name: "shop", Shards: []platform.Shard{{Shard: shard, Kind: targets.Postgres}, {Shard: master, Kind: targets.Redis}},
		Policy: platform.Policy{Redis: platform.RedisPause}}

	var c Cutter

	begin := func() *reading {
		r := &reading{c: &c, a: Ask{Group: g}, members: []member{{inst: targets.Instance{Kind: targets.Postgres, Shard: shard}},
			{inst: targets.Instance{Kind: targets.Redis, Shard: master}}}}
		r.paused = c.pauses(g.Name)

		return r
	}

	for name, o := range map[string]moment.Obstacle{"a saga": {Why: proof.HalfDoneThen}, "another store": {Shard: shard, Why: proof.NotTogether}} {
		r := begin()
		if r.stillness(nil, &moment.None{Obstacles: []moment.Obstacle{o}}); r.paused {
			t.Errorf("%s was in the way, and Redis is paused", name)
		}

		if r.stillness(&moment.Found{Obstacles: []moment.Obstacle{o}}, nil); r.paused {
			t.Errorf("%s made the grade a lesser one, and Redis is paused", name)
		}
	}

	r := begin()
	r.tries = patient

	if r.stillness(nil, errors.New("something else")); !r.paused {
		t.Error("looks go on in vain, and the masters are never paused")
	}

	r = begin()
	if r.stillness(nil, &moment.None{Obstacles: []moment.Obstacle{{Shard: master, Why: proof.NotTogether}}}); !r.paused {
		t.Error("a master was in the way, and is not paused")
	}

	// The next cuts know it; after a while one tries without again.
	for i := range pauseAgain {
		if !begin().paused {
			t.Fatalf("cut %d does not pause the masters at once", i)
		}
	}

	if begin().paused {
		t.Error("masters are paused for ever")
	}
}

// A cut is of no instant before it was asked for, whatever its first looks missed.
func TestNoInstantBeforeTheFirstLook(t *testing.T) {
	for _, failed := range []int{0, 1, 3} {
		r := &reading{tries: failed}

		for i := range 2 {
			r.tries++
			r.saw(proof.Span{From: clock.Instant(1000 + i*100), To: clock.Instant(1050 + i*100)})
		}

		if want := (proof.Span{From: 1000, To: 1150}); r.first != want {
			t.Errorf("after %d looks in vain the instant is looked for in %+v, not in %+v", failed, r.first, want)
		}
	}
}
