package readiness

import (
	"testing"
	"time"

	"drctl/internal/platform"
	"drctl/targets"
)

// A standby that gets nothing, or replays nothing, is a problem although it answers.
func TestStandbysThatDoNotFollow(t *testing.T) {
	for _, c := range []struct {
		name, want string
		st         targets.Status
	}{
		{"a standby that follows", "", targets.Status{Role: targets.Standby, Lag: time.Second}},
		{"its receiver hangs", "standby-stopped", targets.Status{Role: targets.Standby, Stopped: "it hangs"}},
		{"its replay stands still", "standby-behind", targets.Status{Role: targets.Standby, Lag: 61 * time.Second}},
		{"a primary", "", targets.Status{Role: targets.Primary, Writable: true, Lag: time.Hour}},
	} {
		f := Facts{group: platform.Group{Name: "shop", Policy: platform.Policy{RPO: time.Minute}},
			instances: []Instance{{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "west", Status: c.st}}}

		got := ""
		for _, p := range f.judgeInstances() {
			got = p.Code
		}

		if got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}
