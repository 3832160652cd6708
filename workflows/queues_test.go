package workflows_test

import (
	"context"
	"strings"
	"testing"

	"go.temporal.io/sdk/activity"

	"drctl/activities"
	"drctl/internal/platform"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

// asked keeps on which queue each call was.
func asked(w *world) map[string]string {
	on := map[string]string{}
	w.hook = func(ctx context.Context, call string) error {
		w.mu.Lock()
		defer w.mu.Unlock()
		on[call] = activity.GetInfo(ctx).TaskQueue

		return nil
	}

	return on
}

func wantQueues(t *testing.T, on, want map[string]string) {
	t.Helper()

	for call, queue := range want {
		got := "" // nobody
		for c, q := range on {
			if strings.HasPrefix(c, call) {
				got = q
			}
		}

		if got != queue {
			t.Errorf("%s was asked of %q, want %q", call, got, queue)
		}
	}
}

// A sandbox is opened by a worker with that role, or on the host that is named; what is
// done in it is done where it is.
func TestASandboxIsOpenedByTheRole(t *testing.T) {
	t.Parallel()

	w := newWorld()
	on := asked(w)
	runRestore(t, w, restoreIn(w.plan))
	wantQueues(t, on, map[string]string{"OpenSandbox": "drctl.west/sandbox", "RestoreShard orders/0": "drctl.host"})

	w = newWorld()
	on = asked(w)
	in := restoreIn(w.plan)
	in.Sandboxes = platform.Queue("drctl.west", "drill1", platform.Sandbox)
	runRestore(t, w, in)
	wantQueues(t, on, map[string]string{"OpenSandbox": "drctl.west@drill1/sandbox"})
}

// A step into an instance goes to the host of its destination; one that names none to
// any worker of its region.
func TestARestoreGoesToTheHostOfItsDestination(t *testing.T) {
	t.Parallel()

	w := newWorld()
	on := asked(w)

	p := planOf("orders/0", "orders/1")

	p.Goal.Into = plan.Instances
	for i := range p.Steps {
		p.Steps[i].Into = plan.Destination{Region: "east", Address: "h:1", DataDir: "/d"}
		if p.Steps[i].Shard == id("orders/0") {
			p.Steps[i].Into.Host = "pg0"
		}
	}

	runRestore(t, w, restoreIn(p))
	wantQueues(t, on, map[string]string{"RestoreShard orders/0": "drctl.east@pg0", "VerifyShard orders/0": "drctl.east@pg0", "RestoreShard orders/1": "drctl.east", "OpenSandbox": ""})
}

// A base is taken on the host of the configured primary, or where that has moved to: the
// first host says where, and the other takes it whatever its own configuration says.
func TestABaseIsTakenWhereThePrimaryIs(t *testing.T) {
	t.Parallel()

	w := newWorld()
	e := env(t, w)

	var calls []string
	e.RegisterActivityWithOptions(func(ctx context.Context, in activities.BaseIn) (activities.BaseOut, error) {
		queue := activity.GetInfo(ctx).TaskQueue
		calls = append(calls, queue)

		if queue == "drctl.east@pg0" {
			return activities.BaseOut{At: platform.Place{Region: "west", Host: "pg9"}}, nil
		}

		if !in.Here {
			t.Error("it may be sent on for ever")
		}

		return activities.BaseOut{Base: targets.Artifact{ID: in.ID}, Vault: "west"}, nil
	}, activity.RegisterOptions{Name: activities.TakeBaseName, DisableAlreadyRegisteredCheck: true})

	g := group()
	for i := range g.Shards {
		if g.Shards[i].Shard == id("orders/0") {
			g.Shards[i].Host = "pg0"
		}
	}

	e.ExecuteWorkflow(workflows.TakeBackup, workflows.TakeBackupIn{Group: g, Shards: []targets.ShardID{id("orders/0")}})

	var out workflows.BackupOut
	if err := e.GetWorkflowResult(&out); err != nil || len(out.Bases) != 1 || out.Bases[0].Error != "" || out.Bases[0].Vault != "west" {
		t.Fatalf("%+v, %v", out, err)
	}

	if strings.Join(calls, " ") != "drctl.east@pg0 drctl.west@pg9" {
		t.Errorf("it was asked of %q", calls)
	}
}
