package activities

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/worker"

	"drctl/internal/cutting"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/proof/shardlog"
	"drctl/internal/servers"
	"drctl/internal/stream/live"
	"drctl/internal/topology"
	"drctl/internal/watch"
	"drctl/restore/inventory"
	"drctl/targets"
)

// Activities serves every activity of one worker.
type Activities struct {
	Platform platform.Resolver
	Drivers  map[targets.Kind]targets.Driver
	Tools    servers.Binaries
	// The folders of this host's sandboxes, and of reports and scratch files.
	SandboxRoot, StateDir string
	// The process that sandboxes belong to until they are kept; 0: their workflows.
	SandboxOwner int
	// SandboxMax is the largest sandbox in bytes; 0 sets no limit.
	SandboxMax int64
	// Host is the name of this host, and HostQueue the task queue that only its workers
	// with sandboxes serve.
	Host, HostQueue string
	// Logs read the logs of the kinds whose cuts can be proven.
	Logs map[targets.Kind]shardlog.Opener
	// Observers are those of this process; nil for none.
	Observers       *watch.Running
	Version, Commit string
	Log             *slog.Logger

	runs inventory.Runs
	live live.Archivers
	cuts cutting.Cutter
}

// Register registers every activity under its constant name.
func (a *Activities) Register(r worker.ActivityRegistry) {
	for name, f := range map[string]any{
		DescribeGroupName: a.DescribeGroup,
		FollowShardName:   a.FollowShard,
		QuiesceCutName:    a.QuiesceCut,
		SnapshotName:      a.SnapshotObjects,
		SealCutName:       a.SealCut,
		AbandonCutName:    a.AbandonCut,
		ShareCutsName:     a.ShareCuts,
		TakeBaseName:      a.TakeBase,
		CopyVaultName:     a.CopyVault,
		OpenSandboxName:   a.OpenSandbox,
		CheckSpaceName:    a.CheckSpace,
		KeepSandboxName:   a.KeepSandbox,
		CloseSandboxName:  a.CloseSandbox,
		RestoreShardName:  a.RestoreShard,
		VerifyShardName:   a.VerifyShard,
		PickDrillName:     a.PickDrill,
		CrossCheckName:    a.CrossCheck,
		FinishDrillName:   a.FinishDrill,
		CheckVaultName:    a.CheckVault,
		RetainName:        a.Retain,
	} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

// DescribeGroup returns the group as this worker's configuration has it.
func (a *Activities) DescribeGroup(_ context.Context, in GroupIn) (platform.Group, error) {
	g, err := a.Platform.Group(in.Group)
	return g, engine.EncodeError(err)
}

// driver returns the driver of a kind.
func (a *Activities) driver(k targets.Kind) (targets.Driver, error) {
	if d, ok := a.Drivers[k]; ok {
		return d, nil
	}

	return nil, fail.Newf(fail.Unsupported, "driver", string(k), "this build knows no such kind of store")
}

// primaries finds the instances that cuts, bases and the archive are taken from.
func (a *Activities) primaries() topology.Finder {
	return topology.Finder{Platform: a.Platform, Driver: a.driver, Log: a.Log}
}

// beater turns frequent progress reports into heartbeats, at most two a second.
type beater struct {
	ctx   context.Context
	shard string
	mu    sync.Mutex
	last  time.Time
	beat  engine.Beat
	taken *engine.TakenBase
	moved time.Time
}

func newBeater(ctx context.Context, shard targets.ShardID) *beater {
	return &beater{ctx: ctx, shard: shard.String()}
}

func (b *beater) progress(phase string, done, total int64) {
	b.send(engine.Beat{Shard: b.shard, Phase: phase, Done: done, Total: total})
}

// current is the last beat, for work that reports no progress of its own for a while.
func (b *beater) current() engine.Beat {
	b.mu.Lock()
	defer b.mu.Unlock()

	return b.beat
}

// stored notes in every beat from now on what the next attempt can go on with;
// nil is nothing.
func (b *beater) stored(t *engine.TakenBase) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.taken = t
}

func (b *beater) send(x engine.Beat) {
	b.mu.Lock()
	defer b.mu.Unlock()

	if x.Phase != b.beat.Phase || x.Done != b.beat.Done || b.moved.IsZero() {
		b.moved = time.Now()
	}

	if x.Phase == b.beat.Phase && time.Since(b.last) < 500*time.Millisecond {
		return
	}
	x.Attempt, x.Taken, x.Moved = int(activity.GetInfo(b.ctx).Attempt), b.taken, b.moved
	b.last, b.beat = time.Now(), x
	activity.RecordHeartbeat(b.ctx, x)
}

// beatEvery beats by the clock until the returned function is called. Only for
// calls whose own time-outs are far shorter than the activity's, so that a
// beat cannot hide a stall.
func beatEvery(ctx context.Context, every time.Duration, beat func() engine.Beat) (stop func()) {
	stopped, stop := context.WithCancel(ctx)
	go func() {
		t := time.NewTicker(every)
		defer t.Stop()

		for stopped.Err() == nil {
			// Not on stopped: a beat on an ended context makes the SDK cancel the activity.
			activity.RecordHeartbeat(ctx, beat())

			select {
			case <-stopped.Done():
			case <-t.C:
			}
		}
	}()

	return stop
}

// stoppable ends the returned context when the worker is asked to stop.
func stoppable(ctx context.Context) (context.Context, context.CancelCauseFunc) {
	ctx, cancel := context.WithCancelCause(ctx)

	stop := activity.GetWorkerStopChannel(ctx)
	go func() {
		select {
		case <-stop:
			cancel(errStopping)
		case <-ctx.Done():
		}
	}()

	return ctx, cancel
}

var errStopping = fail.Newf(fail.Unavailable, "worker", "", "the worker is stopping; another goes on")
