package activities_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/targets"
)

// regional is a platform of one shard with an instance in every region.
type regional struct {
	resolver
	regions   []string
	instances map[string]targets.Instance
}

func (r regional) Regions(targets.ShardID) []string { return r.regions }

func (r regional) Instance(_ context.Context, _ targets.ShardID, region string) (targets.Instance, error) {
	return r.instances[region], nil
}

// With several writable servers the barrier is taken on the one on the highest
// timeline, wherever the configuration names it, and on none when that does not
// decide.
func TestTheNewestPrimaryIsChosen(t *testing.T) {
	w := startServers(t, 1)
	w.vault(t)
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
	barrier := func(ins ...targets.Instance) (targets.Cut, error) {
		t.Helper()
		r := regional{resolver{w, policy(targets.Gate)}, nil, map[string]targets.Instance{}}
		for i, in := range ins {
			region := []string{"east", "west", "north"}[i]
			in.Region, in.Shard = region, old.Shard
			r.regions = append(r.regions, region)
			r.instances[region] = in
		}
		return execute[targets.Cut](w.activities(r), activities.QuiesceCutName, activities.GroupIn{Group: group}, nil)
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
		cut, err := barrier(c.ins...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got := cut.Shards[0].Region; got != c.want {
			t.Errorf("%s: the barrier was taken in %s, want %s", name, got, c.want)
		}
	}
	for name, ins := range map[string][]targets.Instance{
		"two promoted to one timeline": {one, two},
		"another cluster":              {old, other},
	} {
		_, err := barrier(ins...)
		if !fail.Is(err, fail.Conflict) || slices.ContainsFunc(ins, func(in targets.Instance) bool { return !strings.Contains(err.Error(), in.Address) }) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := barrier(dead, standby); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "@east") {
		t.Errorf("nobody writes: %v", err)
	}
}

// Of two Redis masters the one that was promoted from the other is taken,
// wherever the configuration names it; two that have nothing to do with each
// other are refused by name.
func TestThePromotedRedisMasterIsChosen(t *testing.T) {
	w := startServers(t, 1)
	w.vault(t)
	old := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	promoted := promotedReplica(t, old)
	chained := promotedReplica(t, promoted)
	stranger := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	for _, in := range []targets.Instance{chained, stranger} {
		sandboxtest.RedisReplica(t, in, sandboxtest.RedisOptions{}) // without one it does not number its writes
	}
	barrier := func(ins ...targets.Instance) (targets.Cut, error) {
		t.Helper()
		r := regional{resolver{w, policy(targets.Share)}, nil, map[string]targets.Instance{}}
		for i, in := range ins {
			in.Region, in.Shard = []string{"east", "west", "north"}[i], old.Shard
			r.regions = append(r.regions, in.Region)
			r.instances[in.Region] = in
		}
		w.shards = []platform.Shard{{Shard: old.Shard, Kind: targets.Redis, Region: "east"}}
		return execute[targets.Cut](w.activities(r), activities.QuiesceCutName, activities.GroupIn{Group: group}, nil)
	}
	for name, c := range map[string]struct {
		ins  []targets.Instance
		want string // region
	}{
		"the configured master came back": {[]targets.Instance{old, promoted}, "west"},
		"the promoted one is named":       {[]targets.Instance{promoted, old}, "east"},
		"a chain of promotions":           {[]targets.Instance{old, chained, promoted}, "west"},
	} {
		cut, err := barrier(c.ins...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := cut.Shards[0].Region; got != c.want {
			t.Errorf("%s: the mark was made in %s, want %s", name, got, c.want)
		}
	}
	for name, ins := range map[string][]targets.Instance{
		"a stranger":              {old, stranger},
		"no link between the two": {old, chained},
	} {
		_, err := barrier(ins...)
		if !fail.Is(err, fail.Conflict) || slices.ContainsFunc(ins, func(in targets.Instance) bool { return !strings.Contains(err.Error(), in.Address) }) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// promotedReplica makes a replica of a master and promotes it.
func promotedReplica(t *testing.T, master targets.Instance) targets.Instance {
	t.Helper()
	in := sandboxtest.RedisReplica(t, master, sandboxtest.RedisOptions{})
	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal()})
	defer c.Close()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		text, err := c.Info(t.Context(), "replication").Result()
		if err == nil && strings.Contains(text, "master_link_status:up") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the replica does not follow its master: %v %s", err, text)
		}
	}
	if err := c.Do(t.Context(), "REPLICAOF", "NO", "ONE").Err(); err != nil {
		t.Fatal(err)
	}
	return in
}

// What status says of servers that take writes side by side.
func TestTwoWritersAreAProblem(t *testing.T) {
	pg := func(name string, tli uint32) activities.Writer {
		return activities.Writer{Name: name, Position: targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline("7001", tli)}}
	}
	for name, c := range map[string]struct {
		ws    []activities.Writer
		words []string // none: no problem
	}{
		"one":          {[]activities.Writer{pg("orders/0@east", 1)}, nil},
		"old and new":  {[]activities.Writer{pg("orders/0@east", 1), pg("orders/0@west", 2)}, []string{"more than one server takes writes", "orders/0@west was promoted last", "timeline 1"}},
		"not decided":  {[]activities.Writer{pg("orders/0@east", 2), pg("orders/0@west", 2)}, []string{"more than one server takes writes", "orders/0@east", "orders/0@west", "stop the wrong one"}},
		"two buckets":  {[]activities.Writer{{Name: "a", Position: targets.Position{Kind: targets.S3}}, {Name: "b", Position: targets.Position{Kind: targets.S3}}}, nil},
		"nobody there": {nil, nil},
	} {
		got := activities.TwoWriters(c.ws)
		if (got == "") != (c.words == nil) {
			t.Errorf("%s: %q", name, got)
		}
		for _, word := range c.words {
			if !strings.Contains(got, word) {
				t.Errorf("%s: %q does not say %q", name, got, word)
			}
		}
	}
}
