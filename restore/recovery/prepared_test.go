package recovery_test

import (
	"strings"
	"testing"

	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// A plan into an instance says that its own configuration has no room for what stays prepared.
func TestPlanWarnsOfPreparedTransactionsWithoutRoom(t *testing.T) {
	leave, commit := targets.InDoubtLeave, targets.InDoubtCommit

	for name, x := range map[string]struct {
		room   string
		into   string
		doubts []targets.InDoubtAction
		warns  bool
	}{
		"no room":            {"0", plan.Instances, []targets.InDoubtAction{leave}, true},
		"too little room":    {"1", plan.Instances, []targets.InDoubtAction{leave, leave}, true},
		"enough room":        {"2", plan.Instances, []targets.InDoubtAction{leave, leave}, false},
		"none stays":         {"0", plan.Instances, []targets.InDoubtAction{commit}, false},
		"nobody knows":       {"", plan.Instances, []targets.InDoubtAction{leave}, false},
		"a sandbox has room": {"0", plan.Sandbox, []targets.InDoubtAction{leave}, false},
	} {
		inv := example()
		at := &inv.Cuts[0].Shards[2]

		for i, a := range x.doubts {
			at.InDoubt = append(at.InDoubt, targets.InDoubt{GID: targets.GID("g" + string(rune('0'+i))), Action: a, Group: "g", Reason: "r"})
		}
		at.InDoubtSince = epoch

		for i := range inv.Shards[0].Bases {
			inv.Shards[0].Bases[i].Settings = map[string]string{"max_prepared_transactions": x.room}
		}

		goal := plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "west", Into: x.into, Shards: []targets.ShardID{at.Shard}}
		if x.into == plan.Instances {
			goal.Destinations = map[string]plan.Destination{at.Shard.String(): {Region: "west", Address: "h:5432", DataDir: "/data"}}
		}

		run, err := recovery.Build(goal, plan.ModeRestore, inv, later)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}

		said := strings.Join(run.Warnings, "; ")
		if strings.Contains(said, "max_prepared_transactions") != x.warns {
			t.Errorf("%s: it warns: %q", name, said)
		}
	}
}
