package targets_test

import (
	"strings"
	"testing"
	"time"

	"drctl/targets"
)

func TestAPartialCutLacksWhatItSays(t *testing.T) {
	t.Parallel()

	orders, carts := targets.ShardID{Target: "orders", Shard: "0"}, targets.ShardID{Target: "carts", Shard: "0"}
	cut := targets.Cut{ID: "20261123T120000.000Z-0001", Group: "shop", Mode: targets.Share, Tool: "drctl test", Shards: []targets.ShardPoint{
		{Shard: carts, Kind: targets.Redis, Region: "east", Position: targets.Position{Kind: targets.Redis, Timeline: strings.Repeat("f00d", 10), Offset: 9}}}}

	if cut.Partial() {
		t.Error("a cut that lacks nothing is partial")
	}

	cut.Without = []targets.Absent{{Shard: orders, Why: "connection refused"}}
	if err := cut.Check(time.Now()); err != nil || !cut.Partial() {
		t.Errorf("partial: %v, %v", cut.Partial(), err)
	}

	cut.Without[0].Shard = carts
	if err := cut.Check(time.Now()); err == nil || !strings.Contains(err.Error(), "has a point of it") {
		t.Errorf("a cut that both lacks and has a shard: %v", err)
	}
}
