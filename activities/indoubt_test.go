package activities_test

import (
	"context"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"drctl/activities"
	"drctl/internal/sandbox"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// asked is a driver that notes what it is asked.
type asked struct {
	targets.Driver
	restore targets.RestoreRequest
	verify  targets.Expectation
}

func (a *asked) Restore(_ context.Context, in targets.Instance, req targets.RestoreRequest, _ targets.Source) (targets.Outcome, error) {
	a.restore = req
	return targets.Outcome{Findings: []targets.Finding{{Check: "told", Subject: in.String(), Severity: targets.Passed}}}, nil
}

func (a *asked) Verify(_ context.Context, _ targets.Instance, want targets.Expectation) ([]targets.Finding, error) {
	a.verify = want
	return nil, nil
}

// emptyVault is a platform with a vault that is not read.
type emptyVault struct{ vaultAlone }

func (emptyVault) Vault(context.Context, string) (*vault.Vault, error) { return &vault.Vault{}, nil }

// What a cut says of prepared transactions reaches who restores and who checks.
func TestWhatIsInDoubtReachesTheDriver(t *testing.T) {
	d := &asked{}
	a := (&world{tools: sandboxtest.Tools(t), dir: t.TempDir()}).activities(emptyVault{})
	a.Drivers = map[targets.Kind]targets.Driver{targets.Postgres: d}

	shard := targets.ShardID{Target: "x", Shard: "0"}
	at := targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline("7", 1), Offset: 1 << 24}
	list, since := []targets.InDoubt{{GID: "it's \xff", Action: targets.InDoubtCommit, Reason: "r"}}, time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)
	base := targets.Artifact{ID: "b", Shard: shard, Kind: targets.Postgres, Region: "west", Snapshot: strings.Repeat("0", 64), Path: "/p", Method: "files", From: at, Until: at}

	box, err := execute[activities.SandboxRef](a, activities.OpenSandboxName, activities.SandboxIn{ID: "s", Purpose: "test"}, nil)
	if err != nil {
		t.Fatal(err)
	}

	if err := os.Mkdir(filepath.Join(box.Dir, "x-0"), 0o700); err != nil {
		t.Fatal(err)
	}

	if err := sandbox.WriteAccess(filepath.Join(box.Dir, "x-0"), sandbox.Access{Kind: targets.Postgres, Shard: shard, Address: "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}

	run := plan.Run{ID: "r", Steps: []plan.Step{
		{ID: "restore", Op: plan.OpRestore, Shard: shard, Kind: targets.Postgres, Base: base, Point: at, InDoubt: list, InDoubtSince: since,
			Path: []targets.Span{{Timeline: at.Timeline, To: at.Offset}}, Into: plan.Destination{Region: "west", DataDir: filepath.Join(t.TempDir(), "data")}},
		{ID: "verify", Op: plan.OpVerify, Shard: shard, Kind: targets.Postgres, Point: at, InDoubt: list, InDoubtSince: since},
	}}

	out, err := execute[plan.StepOut](a, activities.RestoreShardName, activities.StepIn{Run: plan.Carried{Whole: &run}, StepID: "restore"}, nil)
	if err != nil || len(out.Findings) != 1 || !reflect.DeepEqual(d.restore.InDoubt, list) || !d.restore.InDoubtSince.Equal(since) {
		t.Errorf("restore was asked for %+v since %s, told %+v: %v", d.restore.InDoubt, d.restore.InDoubtSince, out.Findings, err)
	}

	_, err = execute[plan.StepOut](a, activities.VerifyShardName, activities.StepIn{Run: plan.Carried{Whole: &run}, StepID: "verify", Sandbox: box}, nil)
	if err != nil || !reflect.DeepEqual(d.verify.InDoubt, list) || !d.verify.InDoubtSince.Equal(since) {
		t.Errorf("verify was asked for %+v since %s: %v", d.verify.InDoubt, d.verify.InDoubtSince, err)
	}
}
