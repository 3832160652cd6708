package activities_test

import (
	"strings"
	"testing"

	"drctl/activities"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/restore/plan"
	"drctl/targets"
)

// A server that a restore into an instance leaves stopped is not verified, and
// nothing says that it is.
func TestAStoppedInstanceIsNotVerified(t *testing.T) {
	a := (&world{tools: sandboxtest.Tools(t), dir: t.TempDir()}).activities(vaultAlone{})
	for kind, command := range map[targets.Kind]string{targets.Postgres: "pg_checksums --check -D /srv/data", targets.Redis: "redis-check-rdb on the image, that lies in /srv/data"} {
		step := plan.Step{ID: "verify-x/0", Op: plan.OpVerify, Shard: targets.ShardID{Target: "x", Shard: "0"}, Kind: kind, Into: plan.Destination{Region: "west", DataDir: "/srv/data"}}

		out, err := execute[plan.StepOut](a, activities.VerifyShardName, activities.StepIn{Run: plan.Carried{Whole: &plan.Run{Steps: []plan.Step{step}}}, StepID: step.ID}, nil)
		if err != nil {
			t.Fatal(err)
		}

		if out.Verified() || out.Tally().Failed > 0 || len(out.Findings) != 1 || out.Findings[0].Severity != targets.Skipped || !strings.Contains(out.Findings[0].Detail, command) {
			t.Errorf("%s: %+v", kind, out.Findings)
		}
	}
}
