package recovery_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"drctl/internal/growth"
	"drctl/internal/timeline"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// crowd is a vault with cuts of many shards, of which some are object stores without an object.
func crowd(n int) recovery.Inventory {
	inv := recovery.Inventory{Vault: "west"}

	for i := range n {
		s := targets.ShardID{Target: []string{"orders", "users", "media"}[i%3], Shard: fmt.Sprintf("%04d", i)}

		sh := recovery.ShardInventory{Shard: s, Kind: targets.Postgres}
		if i%3 == 2 {
			sh.Kind, sh.Manifests = targets.S3, []recovery.Manifest{{AsOf: epoch, SHA256: strings.Repeat("ab", 32)}}
		} else {
			sh.Timelines = []timeline.Timeline{{ID: targets.PostgresTimeline("7", 1), Kind: targets.Postgres, Offset: 100, Origin: true, Chunks: []timeline.Chunk{{From: 100, To: 9000}}}}
			sh.Bases = []targets.Artifact{{ID: "b" + s.Shard, Shard: s, Kind: targets.Postgres, From: at(targets.PostgresTimeline("7", 1), 200), Until: at(targets.PostgresTimeline("7", 1), 300),
				Finished: epoch.Add(-time.Hour)}}
		}
		inv.Shards = append(inv.Shards, sh)
	}

	for k := range 30 {
		c := targets.Cut{ID: fmt.Sprintf("20261123T1200%02d.000Z-0001", k), Group: "shop", QuiescedAt: epoch.Add(time.Duration(k) * time.Minute), SealedAt: epoch.Add(time.Duration(k+1) * time.Minute)}
		for _, sh := range inv.Shards {
			p := targets.ShardPoint{Shard: sh.Shard, Kind: sh.Kind, Position: at(targets.PostgresTimeline("7", 1), uint64(1000+k))}
			if sh.Kind == targets.S3 {
				p.Position = targets.Position{Kind: targets.S3, AsOf: c.QuiescedAt, Manifest: strings.Repeat("ab", 32)}
			}
			c.Shards = append(c.Shards, p)
		}
		inv.Cuts = append(inv.Cuts, c)
	}

	return inv
}

// A plan of many shards takes as long as they are many, to a cut and to an instant.
func TestManyShards(t *testing.T) {
	const few, many = 100, 800

	order := []string{"users", "orders", "media"}
	for name, goal := range map[string]plan.Goal{
		"a plan to a cut":      {Group: "shop", Cut: "20261123T120029.000Z-0001", Into: plan.Sandbox, Order: order},
		"a plan to an instant": {Group: "shop", At: epoch.Add(10 * time.Minute), Into: plan.Sandbox, Order: order},
	} {
		growth.Linear(t, name, few, many, func(n int) func() {
			inv := crowd(n)

			return func() {
				run, err := recovery.Build(goal, plan.ModeDrill, inv, later)
				if err != nil || len(run.Steps) != 2*n {
					t.Fatalf("%d steps, %v", len(run.Steps), err)
				}
			}
		})
	}
}
