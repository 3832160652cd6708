package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/stream"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/workflows"
)

// twoRegions is a platform of one shard whose primary is in a region. Nothing
// answers at its addresses.
type twoRegions struct {
	dir    string
	engine *engine.Embedded
	key    vault.Key

	platform, home, target, policy string
	embedded                       bool // the engine is that of the state directory
}

func newTwoRegions(t *testing.T) *twoRegions {
	t.Helper()
	p := &twoRegions{dir: t.TempDir(), platform: "small", home: "west", target: "orders", policy: "{stream: {vaults: [east, west], durability: 2}}"}
	o := enginetest.Options(t)
	o.Dir = filepath.Join(p.dir, "state", "engine")
	p.engine = enginetest.Start(t, o)

	var err error
	if p.key, err = vault.GenerateKey(); err != nil {
		t.Fatal(err)
	}

	if err := os.WriteFile(filepath.Join(p.dir, "key.txt"), []byte(p.key.Secret().Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	return p
}

func (p *twoRegions) vault(region string) vault.Location {
	return vault.Location{URL: "file://" + filepath.Join(p.dir, region)}
}

// config writes the configuration with the primary in the region.
func (p *twoRegions) config(t *testing.T, primary string) (path string) {
	t.Helper()
	role := map[string]string{"east": "standby", "west": "standby"}
	role[primary] = "primary"
	path = filepath.Join(p.dir, primary+".yaml")

	where := fmt.Sprintf("{mode: external, address: %q, namespace: %q}", enginetest.PlainFront(t, p.engine), p.engine.Namespace)
	if p.embedded {
		where = fmt.Sprintf("{address: %q, namespace: %q}", p.engine.Address, p.engine.Namespace)
	}

	if err := os.WriteFile(path, fmt.Appendf(nil, `version: 1
name: %[2]s
state_dir: %[1]s/state
key: {file: %[1]s/key.txt}
engine: %[3]s
regions:
  east: {vault: {url: "%[4]s"}}
  west: {vault: {url: "%[5]s"}}
targets:
  %[9]s:
    kind: postgres
    database: shop
    user: drctl
    shards:
      "0":
        east: {address: "127.0.0.1:1", role: %[6]s}
        west: {address: "127.0.0.1:2", role: %[7]s}
groups:
  shop: {targets: [%[9]s], policy: standard, gate: %[9]s/0, home: %[8]s}
policies:
  standard: %[10]s
`, p.dir, p.platform, where, p.vault("east").URL, p.vault("west").URL, role["east"], role["west"], p.home, p.target, p.policy), 0o600); err != nil {
		t.Fatal(err)
	}

	return path
}

// session is a command's, with the primary in the region.
func (p *twoRegions) session(t *testing.T, primary string) *session {
	t.Helper()
	path := p.config(t, primary)
	a := newApp(new(bytes.Buffer), new(bytes.Buffer))
	a.configPath, a.logLevel = path, "error"

	s, err := a.online(t.Context())
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(s.close)

	return s
}

// A primary that moved to another region is archived by that region's workers,
// whether anybody still serves the region that it left or not.
func TestApplyReplacesAnArchiverOfALostRegion(t *testing.T) {
	p := newTwoRegions(t)
	const id = "small:archive/orders/0"
	apply := func(primary, want string) (run string) {
		t.Helper()
		s := p.session(t, primary)

		changes, err := s.archivers(t.Context())
		if err != nil || len(changes) != 1 || changes[0] != (engine.Change{ID: id, Action: want}) {
			t.Fatalf("primary in %s: %+v %v, want %s", primary, changes, err, want)
		}

		d, err := s.engine.DescribeWorkflowExecution(t.Context(), id, "")
		if err != nil {
			t.Fatal(err)
		}

		i := d.GetWorkflowExecutionInfo()
		if i.GetStatus() != enums.WORKFLOW_EXECUTION_STATUS_RUNNING || i.GetTaskQueue() != "drctl.small."+primary {
			t.Fatalf("primary in %s: the archiver is %v on %s", primary, i.GetStatus(), i.GetTaskQueue())
		}

		return i.GetExecution().GetRunId()
	}
	ended := func(run string, want enums.WorkflowExecutionStatus) {
		t.Helper()

		d, err := enginetest.Client(t, p.engine).DescribeWorkflowExecution(t.Context(), id, run)
		if err != nil {
			t.Fatal(err)
		}

		if got := d.GetWorkflowExecutionInfo().GetStatus(); got != want {
			t.Fatalf("the archiver before is %v, want %v", got, want)
		}
	}
	// Nobody serves a queue at all.
	east := apply("east", "created")
	if again := apply("east", "kept"); again != east {
		t.Fatal("kept, but it is another run")
	}
	west := apply("west", "updated")

	ended(east, enums.WORKFLOW_EXECUTION_STATUS_TERMINATED)
	// The west's workers live: their archiver ends by itself.
	following := make(chan struct{}, 1)
	follow := func(ctx context.Context, in activities.FollowIn) (activities.FollowOut, error) {
		for {
			activity.RecordHeartbeat(ctx)

			select {
			case following <- struct{}{}:
			case <-ctx.Done():
				return activities.FollowOut{}, ctx.Err()
			case <-time.After(20 * time.Millisecond):
			}
		}
	}

	for _, q := range []string{"drctl.small.west", "drctl.small.west/archive"} {
		wk := worker.New(enginetest.Client(t, p.engine), q, worker.Options{MaxHeartbeatThrottleInterval: 20 * time.Millisecond, DefaultHeartbeatThrottleInterval: 20 * time.Millisecond})
		wk.RegisterWorkflowWithOptions(workflows.Archive, workflow.RegisterOptions{Name: workflows.ArchiveName})
		wk.RegisterActivityWithOptions(follow, activity.RegisterOptions{Name: activities.FollowShardName})

		if err := wk.Start(); err != nil {
			t.Fatal(err)
		}
		defer wk.Stop()
	}

	<-following
	apply("west", "kept")
	apply("east", "updated")
	ended(west, enums.WORKFLOW_EXECUTION_STATUS_CANCELED)
}

// Status names a hole that no base lies behind, and what is done about it.
func TestStatusNamesAHole(t *testing.T) {
	p := newTwoRegions(t)
	set := vault.Set{Durability: 2}

	id := ""
	for _, r := range []string{"east", "west"} {
		v, err := vault.Init(t.Context(), vault.Options{Region: r, Location: p.vault(r), Key: p.key, Set: id, ResticBin: sandboxtest.Tools(t).ResticBin, CacheDir: t.TempDir()})
		if err != nil {
			t.Fatal(err)
		}
		id = v.SetID()
		set.Vaults = append(set.Vaults, v)
	}
	shard := targets.ShardID{Target: "orders", Shard: "0"}
	const timeline = "7000000000000000001-00000001"
	base := func(n string, at uint64) {
		t.Helper()

		saved, err := set.Shard(shard).ForBase(n).SaveStream(t.Context(), "base.tar", strings.NewReader(n), nil)
		if err != nil {
			t.Fatal(err)
		}

		from := targets.Position{Kind: targets.Postgres, Timeline: timeline, Offset: at}
		if _, err := set.SaveBase(t.Context(), targets.Artifact{ID: n, Shard: shard, Kind: targets.Postgres, Region: "east", From: from, Until: from,
			Started: time.Now().UTC(), Finished: time.Now().UTC(), Snapshot: saved.Snapshot, Path: saved.Path, Method: "wire"}); err != nil {
			t.Fatal(err)
		}
	}

	arch, err := stream.NewArchiver(t.Context(), stream.Options{Set: set, Shard: shard, Kind: targets.Postgres})
	if err != nil {
		t.Fatal(err)
	}

	for _, part := range []struct{ from, to uint64 }{{0, 1000}, {3000, 5000}} {
		if err := arch.Begin(t.Context(), timeline, part.from, targets.Position{}, nil); err != nil {
			t.Fatal(err)
		}

		if err := arch.Write(t.Context(), part.from, make([]byte, part.to-part.from)); err != nil {
			t.Fatal(err)
		}
	}

	if err := arch.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	base("first", 500)
	status := func() (problems string, code int) {
		t.Helper()
		s := p.session(t, "east")
		var out bytes.Buffer
		s.app.out = &out

		err := s.app.status(t.Context(), "")
		if e, ok := err.(ui.Exit); ok {
			code = e.Code
		} else if err != nil {
			t.Fatal(err)
		}

		return out.String(), code
	}

	const none, hole = "orders/0: no archiver runs; start them with: drctl apply", "orders/0: a hole of 2000 bytes"
	if text, code := status(); code != 4 || !strings.Contains(text, none) || !strings.Contains(text, hole) || !strings.Contains(text, "drctl backup now") {
		t.Fatalf("exit %d:\n%s", code, text)
	}
	// Nobody serves it, so it runs for as long as the test needs it.
	if _, err := enginetest.Client(t, p.engine).ExecuteWorkflow(t.Context(), client.StartWorkflowOptions{ID: workflows.IDs("small").Backup("shop"), TaskQueue: "drctl.small.east"}, workflows.TakeBackupName); err != nil {
		t.Fatal(err)
	}

	for end := time.Now().Add(2 * time.Minute); ; time.Sleep(200 * time.Millisecond) { // the engine's list is behind
		text, _ := status()
		if strings.Contains(text, "a new base is being taken") {
			break
		}

		if time.Now().After(end) {
			t.Fatalf("status does not say that a base is being taken:\n%s", text)
		}
	}

	base("second", 3500)

	if text, _ := status(); strings.Contains(text, "a hole of") {
		t.Fatalf("there is a base behind the hole:\n%s", text)
	}
}
