package readiness

import (
	"fmt"
	"testing"
	"time"

	"drctl/internal/engine"
	"drctl/internal/growth"
	"drctl/internal/platform"
	"drctl/internal/timeline"
	"drctl/targets"
)

// Judging a group of many shards, each with instances, bases and logs in two vaults, takes as long as they
// are many.
func TestManyShards(t *testing.T) {
	now := time.Now()

	growth.Linear(t, "judging", 100, 800, func(n int) func() {
		f := Facts{now: now, deep: true, group: platform.Group{Name: "shop", Home: "east", Policy: platform.Policy{BaseEvery: time.Hour, Vaults: []string{"east", "west"}}},
			engine: Engine{Archivers: map[targets.ShardID]Archiver{}, Regions: []Region{{"east", "drctl.east", now}}}}
		cut := targets.Cut{ID: "20260314T025948.120Z-3fa9", Group: "shop", QuiescedAt: now, SealedAt: now}

		for _, region := range []string{"east", "west"} {
			f.vaults = append(f.vaults, vaultFacts{region: region, policy: true, bases: map[targets.ShardID][]targets.Artifact{}, timelines: map[targets.ShardID][]timeline.Timeline{}})
		}

		for i := range n {
			s := targets.ShardID{Target: "orders", Shard: fmt.Sprint(i)}
			f.group.Shards = append(f.group.Shards, platform.Shard{Shard: s, Kind: targets.Postgres, Region: "east"})
			at := targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline("7", 1), Offset: 900}

			for _, region := range []string{"east", "west"} {
				x := Instance{Shard: s, Region: region}
				x.Status.Writable, x.Status.Position = region == "east", at
				f.instances = append(f.instances, x)
			}

			for _, v := range f.vaults {
				v.bases[s] = []targets.Artifact{{ID: "b", Shard: s, Kind: targets.Postgres, From: at, Until: at, Finished: now}}
				v.timelines[s] = []timeline.Timeline{{ID: at.Timeline, Kind: targets.Postgres, Origin: true, Chunks: []timeline.Chunk{{From: 0, To: 1000}}}}
			}

			f.engine.Archivers[s] = Archiver{Follow: &engine.Pending{State: "started", Started: now, LastHeartbeat: now, Details: []byte(`{"phase":"following","offset":800}`)}}
			cut.Shards = append(cut.Shards, targets.ShardPoint{Shard: s, Kind: targets.Postgres, Position: at})
		}

		for i := range f.vaults {
			f.vaults[i].newest = cut
		}

		return func() {
			f.Judge()

			if got := f.shards(); len(got) != n || got[n-1].Behind != 100 {
				t.Fatalf("%d shards, %+v", len(got), got[n-1])
			}
		}
	})
}
