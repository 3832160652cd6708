package activities_test

import (
	"strings"
	"testing"
	"time"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/restore/plan"
	"drctl/targets"
)

// An object whose key the bucket's server does not give: the policy decides
// whether there is a cut without it, and then the cut, its plan and the
// verification of what was restored all say so.
func TestCutWithoutAnObjectThatHasNoName(t *testing.T) {
	w, put := mediaWorld(t)
	put("good", "content")
	put("\x01odd", "content")
	pol := platform.Policy{Vaults: []string{"east", "south", "west"}, Durability: 2, Unnameable: "refuse"}
	now := time.Now().UTC()
	in := activities.SnapshotIn{Shard: w.shards[0].Shard, AsOf: now}

	_, err := execute[activities.SnapshotOut](w.activities(resolver{w, pol}), activities.SnapshotName, in, nil)
	if !fail.Is(err, fail.Unsupported) || !strings.Contains(err.Error(), `\ufffdodd`) || !strings.Contains(err.Error(), "cut.unnameable") {
		t.Errorf("the policy refuses: %v", err)
	}

	pol.Unnameable = "skip"
	cut := mediaCut(t, w, w.activities(resolver{w, pol}))

	told := cut.Shards[0].Warnings
	if len(told) != 1 || !strings.Contains(told[0], `\ufffdodd`) || cut.Shards[0].Objects != 1 {
		t.Fatalf("the cut does not say what it lacks: %+v", cut.Shards)
	}

	a := w.activities(vaultAlone{w.set.Vaults[0]})

	run, err := planned(w.set.Vaults[0], plan.Goal{Group: group, Cut: cut.ID, Vault: "east", Into: plan.Sandbox})
	if err != nil || len(run.Warnings) != 1 || !strings.Contains(run.Warnings[0], told[0]) || run.Hash != run.Sum() {
		t.Fatalf("the plan does not say it: %v %v", run.Warnings, err)
	}

	box, err := execute[activities.SandboxRef](a, activities.OpenSandboxName, activities.SandboxIn{ID: "odd", Purpose: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer w.discard(t, recovered{box: box})

	for _, s := range run.Steps {
		name := activities.RestoreShardName
		if s.Op == plan.OpVerify {
			name = activities.VerifyShardName
		}

		out, err := execute[plan.StepOut](a, name, activities.StepIn{Run: plan.Carried{Whole: &run}, StepID: s.ID, Sandbox: box}, nil)
		if err != nil {
			t.Fatal(err)
		}

		if s.Op != plan.OpVerify {
			continue
		}

		if last := out.Findings[len(out.Findings)-1]; last.Severity != targets.Warned || last.Detail != told[0] || !out.Verified() {
			t.Errorf("the verification: %+v", out.Findings)
		}
	}
}
