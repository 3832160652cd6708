package actions

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/handover"
)

const someLine = "7000000000000000001-00000001"

var someShard = targets.ShardID{Target: "orders", Shard: "0"}

func placeAt(offset uint64) targets.Position {
	return targets.Position{Kind: targets.Postgres, Timeline: someLine, Offset: offset}
}

// standbyOnly is a platform with one standby, whose server is asked and fed without one.
type standbyOnly struct {
	onlyVaults
	targets.Driver
	at    uint64 // where it stands
	whole uint64 // where the last whole record ends that the vault has
	feeds int
	more  func() // called after a feed
	// elsewhere is where it stands on another line, which has left those before.
	elsewhere targets.Position
	left      []targets.Position
}

// notAsked is one whose kind says nothing but what a probe says.
type notAsked struct {
	targets.Driver
	at targets.Position
}

func (s notAsked) Reach(_ context.Context, in targets.Instance) (targets.Status, error) {
	if in.Region == "east" {
		return targets.Status{}, fail.Newf(fail.Unavailable, "reach", "", "it is away")
	}

	return targets.Status{Reachable: true, Position: s.at}, nil
}

func (s *standbyOnly) Instance(_ context.Context, id targets.ShardID, region string) (targets.Instance, error) {
	return targets.Instance{Kind: targets.Postgres, Shard: id, Region: region}, nil
}

func (s *standbyOnly) Reach(context.Context, targets.Instance) (targets.Status, error) {
	return targets.Status{}, fail.Newf(fail.Unavailable, "reach", "", "it is away")
}

func (s *standbyOnly) Asker() handover.Asker { return asker{s} }

func (s *standbyOnly) Feed(_ context.Context, req handover.FeedRequest) (targets.Position, error) {
	s.feeds++
	s.at = s.whole

	if s.more != nil {
		s.more()
	}

	return placeAt(s.at), nil
}

type asker struct{ s *standbyOnly }

func (a asker) Place(context.Context, targets.Instance) (targets.Position, error) {
	if a.s.elsewhere.Timeline != "" {
		return a.s.elsewhere, nil
	}

	return placeAt(a.s.at), nil
}

func (a asker) Heard(context.Context, targets.Instance) (handover.Heard, error) {
	return handover.Heard{}, fail.Newf(fail.NotFound, "heard", "", "nobody")
}

func (a asker) Left(context.Context, targets.Instance) ([]targets.Position, error) {
	return a.s.left, nil
}

// A vault's log may end in half a record, or in the empty rest of a page, where no standby ever stands. One that was fed all of
// it is on the line. What the vault has got since is fed once more, and what goes on coming is not waited for.
func TestTheEndOfTheLine(t *testing.T) {
	ctx := t.Context()
	set := newVaults(t, "west")
	v := set.Vaults[0]

	put := func(key string, content []byte) {
		t.Helper()

		if err := v.PutEncrypted(ctx, key, nil, content); err != nil {
			t.Fatal(err)
		}
	}
	end := uint64(0)
	grow := func(to uint64) {
		t.Helper()
		put(vault.ChunkKey(someShard, someLine, end, to, time.Now()), make([]byte, to-end))

		end = to
	}

	put(vault.OriginKey(someShard, someLine), []byte(`{"lineage":"`+someLine+`","kind":"postgres","offset":0}`))
	grow(1000)

	d := plan.Definition{Group: "shop", Mode: plan.ModeFailover, From: "east", To: "west", Steps: []plan.StepDef{{ID: "feed-orders/0", Do: plan.OpFeed, On: someShard}}}
	p := &standbyOnly{onlyVaults: onlyVaults{set: set}, at: 500, whole: 984}
	a := &Activities{Platform: p, Drivers: map[targets.Kind]targets.Driver{targets.Postgres: p}}

	done, err := a.feed(ctx, d, d.Steps[0])
	if err != nil || p.feeds != 1 {
		t.Fatalf("%d feeds: %v", p.feeds, err)
	}

	c := Call{Outs: map[string]json.RawMessage{"feed-orders/0": done.Out}}
	if line, err := a.line(ctx, c, d, someShard); err != nil || line.At != placeAt(1000) || p.feeds != 1 {
		t.Errorf("fed up to half a record: %v, %v, %d feeds", line.At, err, p.feeds)
	}

	// The archive was late.
	grow(1200)

	p.whole = 1190
	if line, err := a.line(ctx, c, d, someShard); err != nil || line.At != placeAt(1200) || p.feeds != 2 || p.at != 1190 {
		t.Errorf("more has come since: %v, %v, %d feeds", line.At, err, p.feeds)
	}

	// A standby that has less than it was fed is not on the line, whatever it was fed once.
	p.at, p.whole = 100, 100
	if _, err := a.line(ctx, c, d, someShard); err != nil || p.feeds < 3 {
		t.Errorf("a standby that was laid down anew: %v, %d feeds", err, p.feeds)
	}

	// An old side that goes on writing has no end.
	p.more = func() { grow(end + 100) }
	p.at = 0

	grow(end + 100)

	if _, err := a.line(ctx, c, d, someShard); !fail.Is(err, fail.Stalled) {
		t.Errorf("it never ends: %v", err)
	}
}

// A standby that is not on the line of its old primary is found while nothing is promoted: its own promotion would
// refuse it when those of others cannot be taken back any more.
func TestAStandbyOfAnotherLine(t *testing.T) {
	set := newVaults(t, "west")
	other := targets.Position{Kind: targets.Postgres, Timeline: "7000000000000000001-00000002", Offset: 2000}

	if err := set.Vaults[0].PutEncrypted(t.Context(), vault.OriginKey(someShard, someLine), nil, []byte(`{"lineage":"`+someLine+`","kind":"postgres","offset":0}`)); err != nil {
		t.Fatal(err)
	}

	if err := set.Vaults[0].PutEncrypted(t.Context(), vault.ChunkKey(someShard, someLine, 0, 1000, time.Now()), nil, make([]byte, 1000)); err != nil {
		t.Fatal(err)
	}
	d := plan.Definition{Group: "shop", Mode: plan.ModeFailover, From: "east", To: "west"}
	p := &standbyOnly{onlyVaults: onlyVaults{set: set}, at: 1000}

	for name, c := range map[string]struct {
		driver targets.Driver
		left   []targets.Position
		refuse bool
	}{
		"of the line":                       {driver: notAsked{at: placeAt(1000)}},
		"started anew without its primary":  {driver: notAsked{at: other}, refuse: true},
		"ahead":                             {driver: p, left: []targets.Position{placeAt(1000)}},
		"it left it, and the line went on":  {driver: p, left: []targets.Position{placeAt(900)}, refuse: true},
		"nobody knows, promotion finds out": {driver: p},
	} {
		p.left = c.left
		p.elsewhere = other
		a := &Activities{Platform: p, Drivers: map[targets.Kind]targets.Driver{targets.Postgres: c.driver}}

		if _, err := a.line(t.Context(), Call{}, d, someShard); fail.Is(err, fail.Conflict) != c.refuse || !c.refuse && err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
