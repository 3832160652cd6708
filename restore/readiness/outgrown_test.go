package readiness

import (
	"strings"
	"testing"

	"drctl/targets"
)

// Only a primary tells what its shard's bases lack: a standby may be behind.
func TestOutgrownIsOfThePrimary(t *testing.T) {
	orders := targets.ShardID{Target: "orders", Shard: "0"}
	spaces := targets.Status{Tablespaces: map[string]string{"16400": "/fast"}}
	primary := spaces
	primary.Writable = true

	bases := []targets.Artifact{{ID: "b"}}
	if got := outgrown([]Instance{{Shard: orders, Status: primary}}, bases); !strings.Contains(got, "16400 at /fast") {
		t.Errorf("%q", got)
	}

	for name, i := range map[string]Instance{"a standby": {Shard: orders, Status: spaces}} {
		if got := outgrown([]Instance{i}, bases); got != "" {
			t.Errorf("%s: %q", name, got)
		}
	}
}
