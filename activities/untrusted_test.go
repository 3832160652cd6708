package activities_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/plan"
	"drctl/restore/recovery"
	"drctl/targets"
)

// TestPlanPassesOverWhatIsPlanted: what somebody put into a vault, who can write
// there and knows its recipient, is named, and the plan is made of the rest.
func TestPlanPassesOverWhatIsPlanted(t *testing.T) {
	ctx := t.Context()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(ctx, vault.Options{Region: "east", Key: key, Location: vault.Location{URL: "file://" + filepath.Join(t.TempDir(), "vault")}})
	if err != nil {
		t.Fatal(err)
	}
	const log = "7000000000000000001-00000001"
	shard := targets.ShardID{Target: "orders", Shard: "0"}
	now := time.Now().UTC()
	at := func(n uint64) targets.Position {
		return targets.Position{Kind: targets.Postgres, Timeline: log, Offset: n}
	}
	put := func(key string, content any) string {
		t.Helper()

		b, raw := content.([]byte)
		if !raw {
			if b, err = json.Marshal(content); err != nil {
				t.Fatal(err)
			}
		}

		if err := v.PutEncrypted(ctx, key, nil, b); err != nil {
			t.Fatal(err)
		}

		return key
	}
	put(vault.OriginKey(shard, log), []byte(`{"lineage":"`+log+`","kind":"postgres","offset":0}`))
	put(vault.ChunkKey(shard, log, 0, 1000, now), make([]byte, 1000))
	base := targets.Artifact{ID: "good", Shard: shard, Kind: targets.Postgres, Region: "east", From: at(0), Until: at(100), Method: "files",
		Started: now.Add(-time.Hour), Finished: now.Add(-time.Hour), Snapshot: strings.Repeat("0", 64), Path: "/srv/data"}
	put(vault.BaseRecordKey(shard, base.ID), base)
	cut := targets.Cut{ID: "20260101T000000.000Z-0001", Group: "shop", QuiescedAt: now, SealedAt: now,
		Shards: []targets.ShardPoint{{Shard: shard, Kind: targets.Postgres, Region: "east", Position: at(500)}}}
	put(vault.CutKey("shop", cut.ID), cut)

	var planted []string
	plant := func(key string, content any) { t.Helper(); planted = append(planted, put(key, content)) }
	forged := base
	forged.ID, forged.Finished, forged.Snapshot = "option", now, "--password-command=touch /nowhere"
	plant(vault.BaseRecordKey(shard, forged.ID), forged)
	forged = base
	forged.ID, forged.Finished = "late", now.AddDate(900, 0, 0)
	plant(vault.BaseRecordKey(shard, forged.ID), forged)
	odd := cut
	odd.ID, odd.Shards = "9-odd", []targets.ShardPoint{{Shard: targets.ShardID{Target: "..", Shard: "0"}, Kind: targets.Postgres, Region: "east", Position: at(500)}}
	plant(vault.CutKey("shop", odd.ID), odd)
	plant(vault.CutKey("shop", "9-truncated"), []byte(`{"id":"9-truncated"`))
	plant(vault.CutKey("shop", "9-bomb"), bytes.Repeat([]byte(" "), 64<<20))
	// A plan does not look at these, so they change nothing in it: the check names them.
	put(vault.ChunkKey(shard, log, 400, 1<<61, now), []byte("x"))
	put(vault.OriginKey(shard, "7000000000000000001-00000002"), []byte(`{"lineage":"another"}`))

	goal := plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "east", Into: plan.Sandbox}

	inv, err := inventory.Read(ctx, v, goal, nil)
	if err != nil {
		t.Fatal(err)
	}

	for _, key := range planted {
		if !strings.Contains(strings.Join(inv.Damaged, "\n"), key) {
			t.Errorf("%s is not named: %q", key, inv.Damaged)
		}
	}

	run, err := recovery.Build(goal, plan.ModeRestore, inv, now)
	if err != nil {
		t.Fatal(err)
	}

	if run.Cut.ID != cut.ID || run.Steps[0].Base.ID != base.ID || run.Steps[0].Chunks != 1 {
		t.Errorf("cut %s, base %s, %d chunks", run.Cut.ID, run.Steps[0].Base.ID, run.Steps[0].Chunks)
	}

	// The same values in a workflow's payload are refused before anything is done.
	state := t.TempDir()
	a := (&world{tools: sandboxtest.Tools(t), dir: state}).activities(vaultAlone{v})

	precious := filepath.Join(a.StateDir, "precious")
	if err := os.MkdirAll(precious, 0o700); err != nil {
		t.Fatal(err)
	}
	good := run.Steps[0]

	good.Into = plan.Destination{Region: "west", Address: "127.0.0.1:5432", DataDir: filepath.Join(state, "new")}
	for name, spoil := range map[string]func(in *activities.StepIn, run *plan.Run, step *plan.Step){
		"plan":  func(in *activities.StepIn, run *plan.Run, step *plan.Step) { run.ID = "../precious" },
		"shard": func(in *activities.StepIn, run *plan.Run, step *plan.Step) { step.Shard.Shard = "../../precious" },
		"snapshot": func(in *activities.StepIn, run *plan.Run, step *plan.Step) {
			step.Base.Snapshot = "--password-command=touch /nowhere"
		},
		"base path": func(in *activities.StepIn, run *plan.Run, step *plan.Step) { step.Base.Path = "--help" },
		"span":      func(in *activities.StepIn, run *plan.Run, step *plan.Step) { step.Path[0].To = 1 << 63 },
		"timeline":  func(in *activities.StepIn, run *plan.Run, step *plan.Step) { step.Path[0].Timeline = "../x" },
		"point": func(in *activities.StepIn, run *plan.Run, step *plan.Step) {
			step.Point.RestorePoint = "drctl:x'\nfsync = off"
		},
		"directory": func(in *activities.StepIn, run *plan.Run, step *plan.Step) {
			step.Into.DataDir = precious + "/../../etc"
		},
		"root":    func(in *activities.StepIn, run *plan.Run, step *plan.Step) { step.Into.DataDir = "/" },
		"address": func(in *activities.StepIn, run *plan.Run, step *plan.Step) { step.Into.Address = "-x:1" },
		"sandbox": func(in *activities.StepIn, run *plan.Run, step *plan.Step) {
			in.Sandbox = activities.SandboxRef{ID: "box", Dir: precious + "/../box"}
		},
	} {
		spoilt, step := run, good
		step.Path = append([]targets.Span(nil), good.Path...)
		in := activities.StepIn{StepID: step.ID}
		spoil(&in, &spoilt, &step)
		spoilt.Steps = []plan.Step{step}

		in.Run = plan.Carried{Whole: &spoilt}
		for _, activity := range []string{activities.RestoreShardName, activities.VerifyShardName} {
			if activity == activities.VerifyShardName && (name == "snapshot" || name == "base path") {
				continue // a check reads no base
			}

			if _, err := execute[plan.StepOut](a, activity, in, nil); !fail.Is(err, fail.Invalid) {
				t.Errorf("%s of a payload with another %s: %v", activity, name, err)
			}
		}
	}

	if _, err := os.Stat(precious); err != nil {
		t.Error(err)
	}
}
