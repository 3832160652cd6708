package activities_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// regional is a platform of one shard with an instance in every region.
type regional struct {
	platform
	regions   []string
	instances map[string]targets.Instance
}

func (r regional) Regions(targets.ShardID) []string { return r.regions }

func (r regional) Instance(_ context.Context, _ targets.ShardID, region string) (targets.Instance, error) {
	return r.instances[region], nil
}

// With several writable servers the fence is taken on the one on the highest
// timeline, wherever the configuration names it, and on none when that does not
// decide.
func TestTheNewestPrimaryIsChosen(t *testing.T) {
	w := servers(t, 1)
	old := w.shop.Postgres[0]
	promotedFrom := func(from targets.Instance) targets.Instance {
		in := sandboxtest.Standby(t, from, sandboxtest.PostgresOptions{})
		c, err := pgx.Connect(t.Context(), sandboxtest.DSN(in, in.Database))
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = c.Close(context.Background()) }()
		if _, err := c.Exec(t.Context(), "SELECT pg_promote(true, 30)"); err != nil {
			t.Fatal(err)
		}
		return in
	}
	promoted := func() targets.Instance { return promotedFrom(old) }
	standby := sandboxtest.Standby(t, old, sandboxtest.PostgresOptions{})
	one, two := promoted(), promoted()
	three := promotedFrom(two)
	other := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"})
	dead := old
	dead.Address = "127.0.0.1:1"
	fence := func(ins ...targets.Instance) (targets.Cut, error) {
		t.Helper()
		r := regional{platform{w, policy(targets.Gate)}, nil, map[string]targets.Instance{}}
		for i, in := range ins {
			region := []string{"east", "west", "north"}[i]
			in.Region, in.Shard = region, old.Shard
			r.regions = append(r.regions, region)
			r.instances[region] = in
		}
		return execute[targets.Cut](w.activities(r), activities.FenceCutName, activities.GroupIn{Group: group}, nil)
	}
	for name, c := range map[string]struct {
		ins  []targets.Instance
		want string // region
	}{
		"the configured primary":       {[]targets.Instance{old, standby}, "east"},
		"a former primary came back":   {[]targets.Instance{old, one}, "west"},
		"the promoted one is named":    {[]targets.Instance{one, old}, "east"},
		"the primary is gone":          {[]targets.Instance{dead, standby, one}, "north"},
		"a former primary of three":    {[]targets.Instance{standby, old, two}, "north"},
		"two former primaries":         {[]targets.Instance{one, two, three}, "north"},
		"a server that does not write": {[]targets.Instance{standby, old}, "west"},
	} {
		cut, err := fence(c.ins...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := cut.Shards[0].Region; got != c.want {
			t.Errorf("%s: the fence was taken in %s, want %s", name, got, c.want)
		}
	}
	for name, ins := range map[string][]targets.Instance{
		"two promoted to one timeline": {one, two},
		"another cluster":              {old, other},
	} {
		_, err := fence(ins...)
		if !fail.Is(err, fail.Conflict) || slices.ContainsFunc(ins, func(in targets.Instance) bool { return !strings.Contains(err.Error(), in.Address) }) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := fence(dead, standby); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "@east") {
		t.Errorf("nobody writes: %v", err)
	}
}
