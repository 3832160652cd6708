package recovery_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/internal/timeline"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// chunk is archived at a minute after the epoch.
func chunk(from, to uint64, minute int) timeline.Chunk {
	return timeline.Chunk{From: from, To: to, Closed: epoch.Add(time.Duration(minute) * time.Minute)}
}

// TestInstant: the stream of a plan for an instant ends where it is known to be
// later than the instant, on the branch that was live then, or there is no plan.
func TestInstant(t *testing.T) {
	id := targets.ShardID{Target: "orders", Shard: "0"}
	minute := func(m int) time.Time { return epoch.Add(time.Duration(m) * time.Minute) }
	cut := func(m int, timeline string, offset uint64) targets.Cut {
		p := at(timeline, offset)
		p.RestorePoint = "drctl:x"

		return targets.Cut{ID: minute(m).Format(time.RFC3339), Group: "shop", QuiescedAt: minute(m), SealedAt: minute(m),
			Shards: []targets.ShardPoint{{Shard: id, Kind: targets.Postgres, Position: p}}}
	}
	base := targets.Artifact{ID: "b", Shard: id, Kind: targets.Postgres, From: at("L1", 100), Until: at("L1", 110), Finished: minute(1)}
	one := timeline.Timeline{ID: "L1", Offset: 0, Origin: true, Began: minute(0), Chunks: []timeline.Chunk{chunk(0, 200, 2), chunk(200, 300, 10), chunk(300, 400, 20)}}
	holed := one
	holed.Chunks = []timeline.Chunk{chunk(0, 200, 2), chunk(200, 300, 10), chunk(350, 400, 20)}

	next := func(left uint64, began int) timeline.Timeline {
		return timeline.Timeline{ID: "L2", Offset: left - 20, Origin: true, Parent: at("L1", left), Began: minute(began), Chunks: []timeline.Chunk{chunk(left-20, 600, 30)}}
	}
	for _, x := range []struct {
		name   string
		ls     []timeline.Timeline
		cuts   []targets.Cut
		at     int
		end    targets.Position
		atCut  bool
		refuse string
	}{
		// The chunk of minute 10 holds what an archiver that was away read late:
		// that it was closed after the instant does not end the stream.
		{"to the end of the archive", []timeline.Timeline{one}, nil, 5, at("L1", 400), false, ""},
		{"to the first later cut", []timeline.Timeline{one}, []targets.Cut{cut(15, "L1", 380), cut(4, "L1", 210), cut(12, "L1", 350)}, 5, at("L1", 350), true, ""},
		{"a cut within the allowance is not later", []timeline.Timeline{one}, []targets.Cut{cut(5, "L1", 350)}, 5, at("L1", 400), false, ""},
		{"later than everything archived", []timeline.Timeline{one}, nil, 25, targets.Position{}, false, "archived up to 2026-11-23T12:20:00Z only"},
		{"up to a hole", []timeline.Timeline{holed}, nil, 5, at("L1", 300), false, ""},
		{"behind a hole", []timeline.Timeline{holed}, []targets.Cut{cut(19, "L1", 390)}, 15, targets.Position{}, false, "archived up to 2026-11-23T12:10:00Z only"},
		{"after a failover that lost nothing", []timeline.Timeline{one, next(400, 22)}, nil, 21, at("L2", 600), false, ""},
		{"before a failover that lost something", []timeline.Timeline{one, next(340, 22)}, nil, 15, at("L1", 400), false, ""},
		{"long after a failover that lost something", []timeline.Timeline{one, next(340, 22)}, nil, 28, at("L2", 600), false, ""},
		{"a cut shows that the failover came before", []timeline.Timeline{one, next(340, 30)}, []targets.Cut{cut(24, "L2", 500)}, 28, at("L2", 600), false, ""},
		{"a later cut on another branch", []timeline.Timeline{one, next(340, 22)}, []targets.Cut{cut(24, "L2", 500)}, 15, at("L1", 400), false, ""},
		{"a later cut after the failover", []timeline.Timeline{one, next(400, 22)}, []targets.Cut{cut(24, "L2", 500)}, 15, at("L2", 500), true, ""},
		{"before every base", []timeline.Timeline{one}, nil, 0, targets.Position{}, false, "finished after the instant"},
		{"still to come", []timeline.Timeline{one}, nil, 48 * 60, targets.Position{}, false, "still to come"},
	} {
		inv := recovery.Inventory{Vault: "west", Cuts: x.cuts, Shards: []recovery.ShardInventory{{Shard: id, Kind: targets.Postgres, Bases: []targets.Artifact{base}, Timelines: x.ls}}}

		plan, err := recovery.Build(plan.Goal{Group: "shop", At: minute(x.at), Vault: "west", Into: plan.Sandbox}, plan.ModeRestore, inv, later)
		if x.refuse != "" {
			if !fail.Is(err, fail.NotFound) || !strings.Contains(err.Error(), x.refuse) || !strings.Contains(err.Error(), "cut list") {
				t.Errorf("%s: %+v, %v", x.name, plan, err)
			}

			continue
		}

		if err != nil {
			t.Errorf("%s: %v", x.name, err)
			continue
		}
		s := plan.Steps[0]

		got := s.Point
		if got.RestorePoint = ""; got != x.end || (s.Point.RestorePoint != "") != x.atCut || !s.Until.Equal(minute(x.at)) {
			t.Errorf("%s: to %+v until %s, want %+v", x.name, s.Point, s.Until, x.end)
		}
	}
}

// Whatever a vault holds: an end that is no later cut's is at the archive's end
// and not known to be before the instant, and no branch with bytes of its own
// is left for a timeline that began later.
func TestInstantIsSound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		sh := recovery.ShardInventory{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres}
		history(t, &sh)
		instant := func(label string) time.Time {
			return epoch.Add(time.Duration(rapid.IntRange(0, 10).Draw(t, label)) * time.Hour / 2)
		}

		began := map[string]time.Time{}
		for i := range sh.Timelines {
			l := &sh.Timelines[i]
			l.Began = instant("began")

			began[l.ID] = l.Began
			for k := range l.Chunks {
				l.Chunks[k].Closed = instant("closed")
			}
		}

		inv := recovery.Inventory{Vault: "west", Shards: []recovery.ShardInventory{sh}}
		for i := range rapid.IntRange(0, 3).Draw(t, "cuts") {
			p := point(t, sh)
			p.RestorePoint = "x"

			c := targets.Cut{ID: fmt.Sprint(i), Group: "shop", QuiescedAt: instant("quiesced"), SealedAt: later, Shards: []targets.ShardPoint{{Shard: sh.Shard, Kind: sh.Kind, Position: p}}}
			if b := began[p.Timeline]; c.QuiescedAt.Before(b) {
				began[p.Timeline] = c.QuiescedAt
			}
			inv.Cuts = append(inv.Cuts, c)
		}
		g := plan.Goal{Group: "shop", At: instant("at"), Vault: "west", Into: plan.Sandbox}

		plan, err := recovery.Build(g, plan.ModeRestore, inv, later)
		if err != nil {
			if !fail.Is(err, fail.NotFound) {
				t.Fatal(err)
			}

			return
		}

		checkHash(t, g, inv, plan)
		s := plan.Steps[0]
		checkLog(t, g, sh, s)

		line := func(id string) timeline.Timeline {
			return sh.Timelines[slices.IndexFunc(sh.Timelines, func(l timeline.Timeline) bool { return l.ID == id })]
		}
		if s.Point.RestorePoint != "" {
			if !slices.ContainsFunc(inv.Cuts, func(c targets.Cut) bool {
				return c.Shards[0].Position == s.Point && c.QuiescedAt.After(g.At.Add(recovery.ClockAllowance))
			}) {
				t.Fatalf("no cut later than %s ends at %+v", g.At, s.Point)
			}
		} else if !slices.ContainsFunc(s.Path, func(sp targets.Span) bool {
			return slices.ContainsFunc(line(sp.Timeline).Chunks, func(c timeline.Chunk) bool {
				return c.From < sp.To && sp.From < c.To && !g.At.After(c.Closed.Add(recovery.ClockAllowance))
			})
		}) {
			t.Fatalf("nothing on the way was archived after %s: %+v", g.At, s)
		}

		for i, sp := range s.Path[:max(0, len(s.Path)-1)] {
			if line(sp.Timeline).Tip() <= sp.To {
				continue
			}

			next := s.Path[i+1].Timeline
			if !slices.ContainsFunc(sh.Timelines, func(l timeline.Timeline) bool {
				if began[l.ID].Add(recovery.ClockAllowance).After(g.At) {
					return false
				}
				for l.ID != next && l.Parent.Timeline != "" {
					l = line(l.Parent.Timeline)
				}
				return l.ID == next
			}) {
				t.Fatalf("%s was left at %d of %d for a timeline that began after %s: %+v", sp.Timeline, sp.To, line(sp.Timeline).Tip(), g.At, s)
			}
		}
	})
}
