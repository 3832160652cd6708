package cutting

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/proof"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/internal/watch"
	"drctl/targets"
	"drctl/targets/redis"
)

// farGate is a gate that takes its time to be joined.
type farGate struct {
	driver
	joining time.Duration
}

func (f farGate) Join(ctx context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	time.Sleep(f.joining)
	return f.driver.Join(ctx, in, req)
}

// writtenTo starts a Redis master with a client that never stops writing.
func writtenTo(t *testing.T, shard string) targets.Instance {
	t.Helper()
	in := sandboxtest.Redis(t, sandboxtest.RedisOptions{Shard: shard, Settings: map[string]string{"repl-ping-replica-period": "3600"}})
	sandboxtest.RedisReplica(t, in, sandboxtest.RedisOptions{})
	c := goredis.NewClient(&goredis.Options{Addr: in.Address, Password: in.Password.Reveal(), MaxRetries: -1, ReadTimeout: time.Minute})

	for end := time.Now().Add(time.Minute); !strings.Contains(c.Info(t.Context(), "replication").Val(), "state=online"); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the replica does not follow")
		}
	}

	var writing sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())

	writing.Go(func() {
		for ctx.Err() == nil {
			if err := c.Set(context.WithoutCancel(ctx), "k", 1, 0).Err(); err != nil {
				t.Error(err)
				return
			}
		}
	})
	t.Cleanup(func() { stop(); writing.Wait(); _ = c.Close() })

	return in
}

// However long it takes to join the gate's shard, all writers of Redis stand still at an instant at
// which the gate is held: else there is no cut, and both have waited for nothing.
func TestThePauseLiesInTheGate(t *testing.T) {
	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Key: key, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "v")}})
	if err != nil {
		t.Fatal(err)
	}
	set := vault.Set{Vaults: []*vault.Vault{v}}

	masters := map[targets.ShardID]targets.Instance{}
	o := watch.Options{Group: "shop", Vaults: func(context.Context) (vault.Set, error) { return set, nil },
		Resolve: func(_ context.Context, s targets.ShardID) (targets.Instance, observation.Observable, error) {
			return masters[s], redis.New(redis.Options{}), nil
		}}

	for i := range 2 {
		in := writtenTo(t, fmt.Sprintf("carts/%d", i))
		masters[in.Shard] = in
		o.Shards = append(o.Shards, watch.Shard{Shard: in.Shard, Kind: targets.Redis})
	}

	var observing sync.WaitGroup
	w := watch.New(o)
	ctx, stop := context.WithCancel(t.Context())

	observing.Go(func() { w.Run(ctx) })
	t.Cleanup(func() { stop(); observing.Wait() })

	gate := targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}}
	g := platform.Group{Name: "shop", Gate: gate.Shard.String(), Policy: platform.Policy{Mode: "gate", Redis: platform.RedisPause, Budget: 10 * time.Second, Lease: 20 * time.Second}}

	for shard := range masters {
		g.Shards = append(g.Shards, platform.Shard{Shard: shard, Kind: targets.Redis})
	}

	for _, joining := range []time.Duration{0, 300 * time.Millisecond} {
		a := Ask{Group: g, Set: set, Observer: w, Flush: func(map[targets.ShardID]targets.Position) <-chan struct{} { return nil }, Log: slog.New(slog.DiscardHandler)}

		for try := 0; ; try++ {
			r := &reading{c: &Cutter{}, a: a, gated: true, paused: true, tries: 1, members: []member{{inst: gate, driver: farGate{joining: joining}}}}

			b, err := r.burst(t.Context())
			if err != nil {
				t.Fatal(err)
			}

			if len(b.Missing) == 0 && b.PauseErr == nil {
				if held := r.holds[0]; !standStill(t, v, masters, held.Span) {
					t.Errorf("with %s for joining there is no instant in %+v at which all masters stand still", joining, held)
				}

				break
			}

			if try == 100 {
				t.Fatalf("%+v", b)
			}

			time.Sleep(100 * time.Millisecond)
		}
	}
}

// standStill reports whether there is an instant within at which none of the masters takes writes.
func standStill(t *testing.T, v *vault.Vault, masters map[targets.ShardID]targets.Instance, within proof.Span) bool {
	t.Helper()

	bs, damaged, err := batches.Read(t.Context(), v, "shop", time.Now().Add(-time.Hour), time.Now().Add(time.Minute))
	if err != nil || len(damaged) > 0 {
		t.Fatal(damaged, err)
	}
	common := []proof.Span{within}

	for shard := range masters {
		var both []proof.Span

		for _, b := range bs {
			for _, s := range b.Shards {
				for _, o := range s.Observations {
					for _, c := range common {
						if from, to := max(c.From, o.T0), min(c.To, o.T1); s.Shard == shard && o.Paused && from < to {
							both = append(both, proof.Span{From: from, To: to})
						}
					}
				}
			}
		}
		common = both
	}

	return len(common) > 0
}
