package hook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/silence"
	"drctl/targets"
)

func TestHooks(t *testing.T) {
	shard := targets.ShardID{Target: "orders", Shard: "1"}
	want := silence.Proof{Group: "shop", Shard: shard, Instance: "orders/1@east", Epoch: 7}

	for name, c := range map[string]struct {
		script string
		code   fail.Code
	}{
		"succeeds":    {`[ "$DRCTL_GROUP $DRCTL_SHARD $DRCTL_INSTANCE $DRCTL_EPOCH" = "shop orders/1 orders/1@east 7" ] && [ -z "$SECRET" ]`, ""},
		"fails":       {"echo no power switch; exit 3", fail.Unavailable},
		"takes long":  {"sleep 60", fail.Unavailable},
		"leaves some": {"sleep 5 & exit 1", fail.Unavailable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SECRET", "x")

			path := filepath.Join(t.TempDir(), "fence")
			if err := os.WriteFile(path, []byte("#!/bin/sh\n"+c.script+"\n"), 0o700); err != nil {
				t.Fatal(err)
			}

			limit := time.Minute
			if name == "takes long" {
				limit = 50 * time.Millisecond
			}

			p, err := Fence{Name: "power", Command: []string{path}, Limit: limit}.Run(t.Context(), want, time.Now)
			if fail.CodeOf(err) != c.code {
				t.Fatalf("run: %v", err)
			}

			if name == "fails" && !strings.Contains(err.Error(), "no power switch") {
				t.Fatalf("does not say why: %v", err)
			}

			need := silence.Need{Group: "shop", Shard: shard, Epoch: 7, To: "west", Instances: []string{"orders/1@east"}, Key: silence.Key("k")}
			if checked := silence.Check(need, []silence.Proof{silence.Sign(p, need.Key)}, time.Now()); (checked == nil) != (err == nil) {
				t.Fatalf("check: %v", checked)
			}
		})
	}
}
