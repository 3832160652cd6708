package observing

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"

	"drctl/internal/observation/batches"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/vault"
	"drctl/internal/watch"
	"drctl/targets"
	"drctl/targets/postgres"
)

// shop is a platform of one shard and one vault.
type shop struct {
	platform.Resolver // nothing else is asked
	in                targets.Instance
	set               vault.Set
}

func (s shop) Group(string) (platform.Group, error) {
	return platform.Group{Name: "shop", Home: "east", Shards: []platform.Shard{{Shard: s.in.Shard, Kind: targets.Postgres, Region: "east"},
		{Shard: targets.ShardID{Target: "media", Shard: "main"}, Kind: targets.S3, Region: "east"}}}, nil
}

func (s shop) Regions(targets.ShardID) []string { return []string{"east"} }

func (s shop) Instance(context.Context, targets.ShardID, string) (targets.Instance, error) {
	return s.in, nil
}

func (s shop) Set(context.Context, string, string) (vault.Set, error) { return s.set, nil }

// run runs the activity in the background, until stop is closed.
func run(t *testing.T, a *Activities, stop chan struct{}) (done chan error) {
	t.Helper()
	done = make(chan error, 1)

	var suite testsuite.WorkflowTestSuite
	env := suite.NewTestActivityEnvironment()
	env.RegisterActivityWithOptions(a.Observe, activity.RegisterOptions{Name: Name})
	env.SetWorkerStopChannel(stop)

	go func() {
		_, err := env.ExecuteActivity(Name, In{Group: "shop"})
		done <- err
	}()

	return done
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()

	for end := time.Now().Add(2 * time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("this never came: " + what)
		}
	}
}

// The activity says what is observed and what is not, and ends with its worker.
func TestObserve(t *testing.T) {
	var proc servers.Server
	in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Proc: &proc})

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	v, err := vault.Init(t.Context(), vault.Options{Region: "east", Key: key, Location: vault.Location{URL: "file://" + filepath.Join(sandboxtest.Dir(t), "v")}})
	if err != nil {
		t.Fatal(err)
	}

	running := &watch.Running{}
	t.Cleanup(running.Stop)
	a := &Activities{Platform: shop{in: in, set: vault.Set{Vaults: []*vault.Vault{v}}}, HostQueue: "q@host", Running: running, Log: slog.New(slog.DiscardHandler),
		Drivers: map[targets.Kind]targets.Driver{targets.Postgres: postgres.New(postgres.Options{})}}
	stop := make(chan struct{})
	done := run(t, a, stop)

	until(t, "there is an observer", func() bool { _, err := running.Find("shop"); return err == nil })

	w, err := running.Find("shop")
	if err != nil {
		t.Fatal(err)
	}
	beat := func() Beat { return beatOf(w.State(), "q@host") }

	until(t, "the shard is observed", func() bool { b := beat(); return b.Observed == 1 && b.FailingCount == 0 })

	until(t, "a burst sees the shard", func() bool {
		b, err := w.Burst(t.Context(), watch.BurstOptions{})
		if err != nil {
			t.Fatal(err)
		}

		return len(b.Missing) == 0
	})

	newest, err := batches.Newest(t.Context(), v, "shop")
	if err != nil || newest.Queue != "q@host" || newest.Observer != w.Observer() || len(newest.Shards) != 1 {
		t.Errorf("%+v, %v", newest, err)
	}

	if err := proc.Kill(); err != nil {
		t.Fatal(err)
	}

	until(t, "the death is said", func() bool {
		b := beat()
		return b.FailingCount == 1 && b.Failing[0].Shard == in.Shard && b.Failing[0].Error != "" && !b.Failing[0].Since.IsZero() && b.Observer == w.Observer()
	})
	close(stop)

	if err := <-done; err == nil || !strings.Contains(err.Error(), "stopping") {
		t.Errorf("its worker stopped: %v", err)
	}

	until(t, "the observer ends with its worker", func() bool { _, err := running.Find("shop"); return err != nil })
}
