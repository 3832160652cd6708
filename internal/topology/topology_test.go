package topology_test

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/topology"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/redis"
)

// regional is a platform of one shard with an instance in every region.
type regional struct {
	platform.Resolver // nothing else is asked
	regions           []string
	instances         map[string]targets.Instance
}

func (r regional) Regions(targets.ShardID) []string { return r.regions }

func (r regional) Instance(_ context.Context, _ targets.ShardID, region string) (targets.Instance, error) {
	return r.instances[region], nil
}

// primary finds the primary of a shard with these instances, in this order.
func primary(t *testing.T, shard targets.ShardID, ins ...targets.Instance) (targets.Instance, error) {
	t.Helper()

	r := regional{instances: map[string]targets.Instance{}}
	for i, in := range ins {
		in.Region, in.Shard = []string{"east", "west", "north"}[i], shard
		r.regions = append(r.regions, in.Region)
		r.instances[in.Region] = in
	}
	drivers := map[targets.Kind]targets.Driver{targets.Postgres: postgres.New(postgres.Options{}), targets.Redis: redis.New(redis.Options{})}
	f := topology.Finder{Platform: r, Log: slog.New(slog.DiscardHandler),
		Driver: func(k targets.Kind) (targets.Driver, error) { return drivers[k], nil }}
	in, _, err := f.Primary(t.Context(), shard)

	return in, err
}

// Of several writable servers the primary is the one on the highest timeline,
// wherever the configuration names it, and none when that does not decide.
func TestTheNewestPrimaryIsChosen(t *testing.T) {
	old := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: "orders/0"})
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
		in, err := primary(t, old.Shard, c.ins...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}

		if got := in.Region; got != c.want {
			t.Errorf("%s: the primary is in %s, want %s", name, got, c.want)
		}
	}

	for name, ins := range map[string][]targets.Instance{
		"two promoted to one timeline": {one, two},
		"another cluster":              {old, other},
	} {
		_, err := primary(t, old.Shard, ins...)
		if !fail.Is(err, fail.Conflict) || slices.ContainsFunc(ins, func(in targets.Instance) bool { return !strings.Contains(err.Error(), in.Address) }) {
			t.Errorf("%s: %v", name, err)
		}
	}

	if _, err := primary(t, old.Shard, dead, standby); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "@east") {
		t.Errorf("nobody writes: %v", err)
	}
}

// Of two Redis masters the one that was promoted from the other is taken,
// wherever the configuration names it; two that have nothing to do with each
// other are refused by name.
func TestThePromotedRedisMasterIsChosen(t *testing.T) {
	old := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	promoted := promotedReplica(t, old)
	chained := promotedReplica(t, promoted)

	stranger := sandboxtest.Redis(t, sandboxtest.RedisOptions{})
	for _, in := range []targets.Instance{chained, stranger} {
		sandboxtest.RedisReplica(t, in, sandboxtest.RedisOptions{}) // without one it does not number its writes
	}

	for name, c := range map[string]struct {
		ins  []targets.Instance
		want string // region
	}{
		"the configured master came back": {[]targets.Instance{old, promoted}, "west"},
		"the promoted one is named":       {[]targets.Instance{promoted, old}, "east"},
		"a chain of promotions":           {[]targets.Instance{old, chained, promoted}, "west"},
	} {
		in, err := primary(t, old.Shard, c.ins...)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := in.Region; got != c.want {
			t.Errorf("%s: the primary is in %s, want %s", name, got, c.want)
		}
	}

	for name, ins := range map[string][]targets.Instance{
		"a stranger":              {old, stranger},
		"no link between the two": {old, chained},
	} {
		_, err := primary(t, old.Shard, ins...)
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

	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
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

// server is one that says of itself that it accepts writes.
func server(kind targets.Kind, region, timeline string) topology.Server {
	return topology.Server{Instance: targets.Instance{Kind: kind, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: region},
		Status: targets.Status{Writable: true, Position: targets.Position{Kind: kind, Timeline: timeline}}}
}

// What is said of servers that take writes side by side.
func TestASplitBrainIsSaid(t *testing.T) {
	pg := func(region string, tli uint32) topology.Server {
		return server(targets.Postgres, region, targets.PostgresTimeline("7001", tli))
	}
	for name, c := range map[string]struct {
		ws    []topology.Server
		words []string // none: no problem
	}{
		"one":          {[]topology.Server{pg("east", 1)}, nil},
		"old and new":  {[]topology.Server{pg("east", 1), pg("west", 2)}, []string{"more than one server takes writes", "orders/0@west was promoted last", "timeline 1"}},
		"not decided":  {[]topology.Server{pg("east", 2), pg("west", 2)}, []string{"more than one server takes writes", "orders/0@east", "orders/0@west", "stop the wrong one"}},
		"two buckets":  {[]topology.Server{server(targets.S3, "east", ""), server(targets.S3, "west", "")}, nil},
		"nobody there": {nil, nil},
	} {
		got := topology.SplitBrain(c.ws)
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

// A bucket knows nothing of promotions: the first that takes writes stands. The
// error is that of the first server when none does.
func TestElectionWithoutALog(t *testing.T) {
	east, west := server(targets.S3, "east", ""), server(targets.S3, "west", "")
	if got, err := topology.Elect([]topology.Server{east, west}); err != nil || got.Instance.Region != "east" || got.Instance.Role != targets.Primary {
		t.Errorf("two buckets: %v %v", got.Instance, err)
	}

	east.Err = fail.Newf(fail.Unavailable, "probe", "east", "it does not answer")
	if got, err := topology.Elect([]topology.Server{east, west}); err != nil || got.Instance.Region != "west" {
		t.Errorf("the first does not answer: %v %v", got.Instance, err)
	}

	west.Status.Writable = false
	if _, err := topology.Elect([]topology.Server{west, east}); !fail.Is(err, fail.Unavailable) || !strings.Contains(err.Error(), "orders/0@west") {
		t.Errorf("nobody takes writes: %v", err)
	}
}
