package halfdone

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/shardlog"
	"drctl/internal/timeline"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/postgres/stretch"
)

// twoTargets is a group of which a plan may move one target and leave another.
type twoTargets struct{ platform.OnlyVault }

func (twoTargets) Group(string) (platform.Group, error) {
	return platform.Group{Name: "shop", Shards: []platform.Shard{
		{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres},
		{Shard: targets.ShardID{Target: "billing", Shard: "0"}, Kind: targets.Postgres},
		{Shard: targets.ShardID{Target: "carts", Shard: "0"}, Kind: targets.Redis},
	}}, nil
}

func (twoTargets) Instance(context.Context, targets.ShardID, string) (targets.Instance, error) {
	return targets.Instance{}, fail.Newf(fail.Unavailable, "test", "", "nobody answers")
}

// A part of a global transaction may be committed where nothing moves: what was not read there
// is in the way of a rollback, and of the word that nothing is half done.
func TestWhatStaysIsNotRead(t *testing.T) {
	r := Resolver{Platform: twoTargets{}, Logs: map[targets.Kind]shardlog.Opener{targets.Postgres: stretch.Opener{}}}
	d := plan.Definition{Group: "shop", To: "west", Steps: []plan.StepDef{{ID: "promote-orders/0", Do: plan.OpPromote, On: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres}}}

	all := r.sources(t.Context(), d, nil)
	if len(all) != 2 || all[0].Shard.Target != "orders" || all[0].why == "" || all[1].Shard.Target != "billing" || !strings.Contains(all[1].why, "it stays where it is") {
		t.Errorf("%+v", all)
	}

	if h := r.Halves(t.Context(), d, nil, nil); len(h.Unknown) != 2 || !strings.Contains(h.Unknown[1], "billing/0") {
		t.Errorf("%+v", h)
	}
}

// The parts that a standby has lost which was far behind are of all that time: where another log was not
// read so far back, the list of what is half done is not whole, and that is said.
func TestAListThatIsNotWholeSaysSo(t *testing.T) {
	end := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	half := proof.Record{Kind: proof.Commit, Stamp: clock.Stamp(end.Add(time.Second).UnixNano()), Tags: []string{"half/2"}}
	logs := func(since time.Duration) []Log {
		return []Log{{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Since: end.Add(since), Records: []proof.Record{half}},
			{Shard: targets.ShardID{Target: "orders", Shard: "1"}, Since: end.Add(-time.Hour)}}
	}

	if h := told(logs(-time.Hour), end); len(h.Unknown) > 0 || len(h.List) != 1 {
		t.Errorf("whole: %+v", h)
	}

	if h := told(logs(-time.Second), end); len(h.List) > 0 || !slices.ContainsFunc(h.Unknown, func(s string) bool {
		return strings.Contains(s, "orders/0") && strings.Contains(s, "on only")
	}) {
		t.Errorf("not read so far back: %+v", h)
	}
}

// What little log has decided is not left because more of it could not be read in time.
func TestWhatWasDecidedStays(t *testing.T) {
	x := func(a targets.InDoubtAction, why string) targets.InDoubt {
		return targets.InDoubt{GID: "x", Action: a, Reason: why}
	}
	some := []targets.InDoubt{x(targets.InDoubtCommit, "some"), x(targets.InDoubtLeave, "some"), x(targets.InDoubtLeave, "some")}
	more := []targets.InDoubt{x(targets.InDoubtLeave, "more"), x(targets.InDoubtRollBack, "more"), x(targets.InDoubtLeave, "more")}

	got := decided(some, slices.Clone(more))
	if !slices.Equal(got, []targets.InDoubt{some[0], more[1], more[2]}) || !slices.Equal(decided(nil, more), more) {
		t.Errorf("%+v", got)
	}
}

// What a vault has beyond the place where a new primary left the old timeline is none of its log.
func TestLogBehindTheForkDoesNotCount(t *testing.T) {
	all := []timeline.Chunk{{From: 0, To: 10}, {From: 10, To: 30}, {From: 30, To: 40}}

	if got := upTo(all, 20); len(got) != 2 || got[1].To != 20 || all[1].To != 30 {
		t.Errorf("%+v of %+v", got, all)
	}
}
