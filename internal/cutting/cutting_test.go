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
	"drctl/internal/platform"
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

	return Ask{Group: g, Set: vault.Set{Vaults: []*vault.Vault{nil}}, Log: slog.New(slog.DiscardHandler), Flush: func([]targets.ShardID) {},
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
	for mode, want := range map[targets.Modes][]string{"auto": nil, "tagged+two-phase": {"tagged", "two-phase"}, "gate+locks": {"gate"}} {
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
