package activities_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/log"
	"go.temporal.io/sdk/testsuite"
	"golang.org/x/sync/errgroup"

	"drctl/activities"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/lab/shop"
	"drctl/internal/platform"
	"drctl/internal/sandbox/sandboxtest"
	"drctl/internal/servers"
	"drctl/internal/vault"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/redis"
	"drctl/targets/s3"
)

const group = "shop"

// world is a platform of real servers with the shop on it, two vaults, and
// the activities of a worker. Production is in the region east.
type world struct {
	shop      shop.Platform
	instances map[targets.ShardID]targets.Instance
	shards    []platform.Shard // in shard order
	procs     []*servers.Server
	set       vault.Set // east (a directory), west (a bucket)
	tools     servers.Binaries
	dir       string
}

// resolver is what a worker is configured with: the world under one policy.
type resolver struct {
	*world
	policy platform.Policy
}

func (p resolver) Group(name string) (platform.Group, error) {
	if name != group {
		return platform.Group{}, fail.Newf(fail.NotFound, "configuration", name, "no such group")
	}

	return platform.Group{Name: group, Home: "east", Gate: p.shop.Postgres[0].Shard.String(), Shards: p.shards, Policy: p.policy}, nil
}

func (p resolver) Instance(_ context.Context, s targets.ShardID, region string) (targets.Instance, error) {
	in, ok := p.instances[s]
	if !ok || region != "east" {
		return in, fail.Newf(fail.NotFound, "configuration", s.String(), "no instance in %s", region)
	}

	return in, nil
}

func (p resolver) Regions(targets.ShardID) []string { return []string{"east"} }

func (p resolver) Vault(_ context.Context, region string) (*vault.Vault, error) {
	for _, v := range p.set.Vaults {
		if v.Region() == region {
			return v, nil
		}
	}

	return nil, fail.Newf(fail.NotFound, "configuration", region, "no vault")
}

func (p resolver) Set(context.Context, string, string) (vault.Set, error) { return p.set, nil }
func (p resolver) GroupOf(targets.ShardID) (string, error)                { return group, nil }

// vaultAlone is what is left on the worst day: one vault and its key.
type vaultAlone struct{ v *vault.Vault }

var errAlone = fail.Newf(fail.NotFound, "configuration", "", "there is only a vault")

func (vaultAlone) Group(string) (platform.Group, error) { return platform.Group{}, errAlone }
func (vaultAlone) Instance(context.Context, targets.ShardID, string) (targets.Instance, error) {
	return targets.Instance{}, errAlone
}
func (vaultAlone) Regions(targets.ShardID) []string { return nil }
func (p vaultAlone) Vault(_ context.Context, region string) (*vault.Vault, error) {
	if region != p.v.Region() {
		return nil, errAlone
	}

	return p.v, nil
}
func (p vaultAlone) Set(context.Context, string, string) (vault.Set, error) {
	return vault.Set{}, errAlone
}
func (vaultAlone) GroupOf(targets.ShardID) (string, error) { return "", errAlone }

// startServers starts PostgreSQL shards alone, with the shop on them: enough for barriers.
func startServers(t *testing.T, shards int) *world {
	t.Helper()
	w := &world{instances: map[targets.ShardID]targets.Instance{}, tools: sandboxtest.Tools(t), dir: sandboxtest.Dir(t)}

	w.shop.Group = group
	for i := range shards {
		proc := &servers.Server{}
		in := sandboxtest.Postgres(t, sandboxtest.PostgresOptions{Shard: fmt.Sprintf("orders/%d", i), Proc: proc,
			Settings: map[string]string{"deadlock_timeout": "1min"}}) // no wait of a barrier is longer than half of it
		w.shop.Postgres = append(w.shop.Postgres, in)
		w.add(in, proc)
	}

	return w
}

func (w *world) add(in targets.Instance, proc *servers.Server) {
	w.instances[in.Shard] = in

	w.shards = append(w.shards, platform.Shard{Shard: in.Shard, Kind: in.Kind, Region: "east"})
	if proc != nil {
		w.procs = append(w.procs, proc)
	}
}

func (w *world) setup(t *testing.T) {
	t.Helper()

	if err := shop.Setup(t.Context(), w.shop, shop.SetupOptions{Accounts: 100, SKUs: 100}); err != nil {
		t.Fatal(err)
	}
}

// newWorld is the whole platform: PostgreSQL shards, a Redis master, a bucket
// and two vaults.
func newWorld(t *testing.T, shards int) *world {
	t.Helper()
	w := startServers(t, shards)
	proc := &servers.Server{}
	carts := sandboxtest.Redis(t, sandboxtest.RedisOptions{Proc: proc})
	w.add(carts, proc)
	w.shop.Redis = []targets.Instance{carts}
	w.shop.Media = sandboxtest.S3(t, true)
	w.add(w.shop.Media, nil)
	w.setup(t)

	store := sandboxtest.S3(t, true)
	w.vaults(t, map[string]vault.Location{
		"east": {URL: "file://" + filepath.Join(w.dir, "vault")},
		"west": {URL: "s3://media/vault", Endpoint: store.Address, AccessKey: store.User, SecretKey: store.Password},
	})

	return w
}

// vaults makes the vaults of the regions; all must hold what counts as durable.
func (w *world) vaults(t *testing.T, at map[string]vault.Location) {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	for region, loc := range at {
		v, err := vault.Init(t.Context(), vault.Options{Region: region, Location: loc, Key: key, Set: "11111111-2222-3333-4444-555555555555",
			ResticBin: w.tools.ResticBin, CacheDir: filepath.Join(w.dir, "cache", region), TempDir: t.TempDir(), Log: quiet})
		if err != nil {
			t.Fatal(err)
		}
		w.set.Vaults = append(w.set.Vaults, v)
	}

	slices.SortFunc(w.set.Vaults, func(a, b *vault.Vault) int { return strings.Compare(a.Region(), b.Region()) })
	w.set.Durability = len(at)
}

// vault is for those who need only one, to take a cut.
func (w *world) vault(t *testing.T) {
	t.Helper()
	w.vaults(t, map[string]vault.Location{"east": {URL: "file://" + filepath.Join(w.dir, "vault")}})
}

var quiet = slog.New(slog.DiscardHandler)

func policy(mode targets.BarrierMode) platform.Policy {
	modes := targets.Modes(targets.ModeLocks)
	if mode == targets.Gate {
		modes = "gate+locks"
	}

	return platform.Policy{Mode: modes, Vaults: []string{"east", "west"}, Durability: 2, Attempts: 100, Budget: 5 * time.Second, Lease: time.Minute}
}

// activities of a worker that is configured with the platform. The servers of
// its sandboxes end with the test.
func (w *world) activities(p platform.Resolver) *activities.Activities {
	a := &activities.Activities{Platform: p, Drivers: map[targets.Kind]targets.Driver{}, Tools: w.tools,
		SandboxRoot: filepath.Join(w.dir, "boxes"), StateDir: filepath.Join(w.dir, "state"), HostQueue: "test", Version: "test", Log: quiet}
	for _, d := range []targets.Driver{postgres.New(postgres.Options{Tools: w.tools}), redis.New(redis.Options{Tools: w.tools}), s3.New(s3.Options{Tools: w.tools})} {
		a.Drivers[d.Kind()] = d
	}

	return a
}

// execute runs one activity as a worker would, inputs and outputs encoded.
func execute[T any](a *activities.Activities, name string, in any, stop chan struct{}) (out T, err error) {
	var suite testsuite.WorkflowTestSuite
	suite.SetLogger(log.NewStructuredLogger(quiet))
	env := suite.NewTestActivityEnvironment()
	a.Register(env)

	if stop != nil {
		env.SetWorkerStopChannel(stop)
	}

	v, err := env.ExecuteActivity(name, in)
	if err != nil {
		return out, engine.DecodeError(err)
	}

	if v != nil && v.HasValue() {
		err = v.Get(&out)
	}

	return out, err
}

// follow runs the archivers until the returned function is called. One that
// ends before is a failure of the test.
func (w *world) follow(t *testing.T, a *activities.Activities) (stop func()) {
	t.Helper()
	ch := make(chan struct{})

	var wg sync.WaitGroup
	for _, s := range w.shards {
		if s.Kind == targets.S3 {
			continue
		}

		wg.Go(func() {
			_, err := execute[activities.FollowOut](a, activities.FollowShardName, activities.FollowIn{Shard: s.Shard}, ch)
			select {
			case <-ch:
			default:
				t.Errorf("the archiver of %s ended by itself: %v", s.Shard, err)
			}
		})
	}

	return sync.OnceFunc(func() { close(ch); wg.Wait() })
}

// bases takes a base of every shard that has a log and copies it to the west,
// the shards at once, as the workflow does.
func (w *world) bases(t *testing.T, a *activities.Activities, id string) {
	t.Helper()

	var g errgroup.Group
	for _, s := range w.shards {
		if s.Kind == targets.S3 {
			continue
		}

		g.Go(func() error {
			in := activities.BaseIn{Shard: s.Shard, ID: id + "-" + s.Shard.Target + "-" + s.Shard.Shard}
			if _, err := execute[activities.BaseOut](a, activities.TakeBaseName, in, nil); err != nil {
				return fmt.Errorf("base of %s: %w", s.Shard, err)
			}

			if _, err := execute[any](a, activities.CopyVaultName, activities.CopyIn{Shard: s.Shard, From: "east", To: "west"}, nil); err != nil {
				return fmt.Errorf("copy of %s: %w", s.Shard, err)
			}

			return nil
		})
	}

	if err := g.Wait(); err != nil {
		t.Fatal(err)
	}
}

// traffic starts customers; the returned function ends them and fails the test
// when any of their transactions failed.
func (w *world) traffic(t *testing.T, gate bool) (journal string, stop func() shop.Summary) {
	t.Helper()
	journal = filepath.Join(w.dir, "journal.jsonl")
	ctx, cancel := context.WithCancel(t.Context())
	type result struct {
		sum shop.Summary
		err error
	}

	done := make(chan result, 1)
	go func() {
		sum, err := shop.Run(ctx, shop.TrafficOptions{Platform: w.shop, Rate: 100, Clients: 6, Style: shop.Mix, Gate: gate, Journal: journal, Log: quiet})
		done <- result{sum, err}
	}()

	t.Cleanup(cancel)

	return journal, sync.OnceValue(func() shop.Summary {
		cancel()

		r := <-done
		if r.err != nil {
			t.Error(r.err)
		}

		if r.sum.Failed+r.sum.Unknown > 0 || r.sum.Resolved != (shop.Resolved{}) || r.sum.Acked == 0 {
			t.Errorf("client transactions failed: %+v", r.sum)
		}

		return r.sum
	})
}

// finish snapshots the objects of a cut and seals it, as the workflow does.
func finish(a *activities.Activities, cut targets.Cut) (targets.Cut, error) {
	for i, p := range cut.Shards {
		if p.Kind != targets.S3 {
			continue
		}

		out, err := execute[activities.SnapshotOut](a, activities.SnapshotName, activities.SnapshotIn{Shard: p.Shard, AsOf: p.Position.AsOf}, nil)
		if err != nil {
			return cut, err
		}
		cut.Shards[i].Position, cut.Shards[i].Objects, cut.Shards[i].Bytes = out.Position, out.Stats.Objects, out.Stats.Bytes
		cut.Shards[i].Warnings = append(cut.Shards[i].Warnings, out.Warnings...)
	}

	return execute[targets.Cut](a, activities.SealCutName, activities.CutIn{Cut: cut}, nil)
}

// cuts takes n cuts, one every so often, and seals them meanwhile.
func (w *world) cuts(t *testing.T, a *activities.Activities, n int, every time.Duration) []targets.Cut {
	t.Helper()
	const sealers = 4
	taken := make(chan targets.Cut, n)
	var mu sync.Mutex
	var sealed []targets.Cut

	var wg sync.WaitGroup
	for range sealers {
		wg.Go(func() {
			for cut := range taken {
				// A chunk lives for a second: asking before is only load.
				time.Sleep(time.Until(cut.QuiescedAt.Add(1200 * time.Millisecond)))

				done, err := finish(a, cut)
				if err != nil {
					t.Errorf("cut %s is not sealed: %v", cut.ID, err)
					continue
				}

				mu.Lock()
				sealed = append(sealed, done)

				mu.Unlock()
			}
		})
	}

	next := time.Now()
	for range n {
		time.Sleep(time.Until(next))
		next = next.Add(every)

		cut, err := execute[targets.Cut](a, activities.QuiesceCutName, activities.GroupIn{Group: group}, nil)
		if err != nil {
			t.Errorf("no cut: %v", err)
			break
		}

		taken <- cut
	}

	close(taken)
	wg.Wait()
	slices.SortFunc(sealed, func(a, b targets.Cut) int { return strings.Compare(a.ID, b.ID) })

	return sealed
}

// destroy kills production for good.
func (w *world) destroy(t *testing.T) {
	t.Helper()

	for _, p := range w.procs {
		if err := p.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
	}
}
