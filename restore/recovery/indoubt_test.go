package recovery_test

import (
	"encoding/json"
	"strings"
	"testing"

	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// What is prepared at a cut goes with the plan, to who restores and to who checks, and
// is a part of what is shown and hashed.
func TestPlanCarriesWhatIsInDoubt(t *testing.T) {
	build := func(action targets.InDoubtAction) plan.Run {
		t.Helper()
		inv := example()
		at := &inv.Cuts[0].Shards[2]
		at.InDoubt, at.InDoubtSince = []targets.InDoubt{{GID: "\xff", Action: action, Group: "g", Reason: "r"}}, epoch

		run, err := recovery.Build(plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "west", Into: plan.Sandbox}, plan.ModeRestore, inv, later)
		if err != nil {
			t.Fatal(err)
		}

		b, err := json.Marshal(run)
		if err != nil {
			t.Fatal(err)
		}

		var again plan.Run
		if err := json.Unmarshal(b, &again); err != nil || again.Sum() != run.Hash {
			t.Fatalf("a stored plan has another hash: %v", err)
		}

		return again
	}

	run := build(targets.InDoubtCommit)
	for _, s := range run.Steps {
		if s.Kind != targets.Postgres {
			if len(s.InDoubt) > 0 {
				t.Errorf("%+v", s)
			}

			continue
		}

		if len(s.InDoubt) != 1 || s.InDoubt[0].GID != "\xff" || !s.InDoubtSince.Equal(epoch) {
			t.Errorf("%s: %+v", s.ID, s.InDoubt)
		}

		if without := s; s.Op == plan.OpRestore {
			without.InDoubt = nil
			if without.Fingerprint() == s.Fingerprint() {
				t.Error("a restore that ends nothing counts as the same")
			}
		}

		s.InDoubt[0].Action = "drop"
		if err := s.Check(later); err == nil || !strings.Contains(err.Error(), "drop") {
			t.Errorf("an unknown action passes the check: %v", err)
		}
	}

	if build(targets.InDoubtRollBack).Hash == build(targets.InDoubtCommit).Hash {
		t.Error("the plan's hash does not change with what becomes of a transaction")
	}
}
