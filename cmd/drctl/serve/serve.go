package serve

import (
	"context"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/activities/actions"
	"drctl/activities/observing"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sandbox"
	"drctl/internal/servers"
	observers "drctl/internal/watch"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/workflows"
	"drctl/workflows/recovery"
)

// Options say what a worker serves, and with what.
type Options struct {
	Platform         platform.Resolver
	Tools            servers.Binaries
	Log              *slog.Logger
	Queues           []string
	Host             string // queue of this host
	Sandboxes, State string
	SandboxMax       int64 // bytes; 0 sets no limit
	Owner            int   // process that sandboxes belong to; 0: to their workflows
	Fatal            chan<- error
	Version, Commit  string // of drctl
}

// Start serves the queues and this host's own.
func Start(c client.Client, o Options) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Join(o.State), 0o755); err != nil {
		return nil, fail.New(fail.Denied, "worker: make state directory", o.State, "set state_dir to a directory that this user may write", err)
	}

	drivers := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: o.Tools, Log: o.Log}) {
		drivers[d.Kind()] = d
	}
	running := &observers.Running{}
	acts := &activities.Activities{Platform: o.Platform, Drivers: drivers, Tools: o.Tools, SandboxRoot: o.Sandboxes, SandboxMax: o.SandboxMax, SandboxOwner: o.Owner,
		StateDir: o.State, HostQueue: o.Host, Logs: all.Logs(), Observers: running, Version: o.Version, Commit: o.Commit, Log: o.Log}
	watching := &observing.Activities{Platform: o.Platform, Drivers: drivers, HostQueue: o.Host, Running: running, Log: o.Log}

	var regional *actions.Activities
	if p, ok := o.Platform.(actions.Resolver); ok { // a vault alone has nothing that could move
		regional = &actions.Activities{Platform: p, Drivers: drivers, Process: o.Host, Log: o.Log}
	}
	// A command with an engine of its own shows its failures itself.
	var told *slog.Logger
	if o.Owner == 0 {
		told = o.Log
	}

	var ws []worker.Worker
	sctx, cancel := context.WithCancel(context.Background())
	var sweeper sync.WaitGroup
	sweeper.Go(func() { Sweep(sctx, o.Sandboxes, ended(sctx, c), sweepEvery, o.Log) })

	stop = func() {
		cancel()
		sweeper.Wait()

		for _, w := range ws {
			w.Stop()
		}

		running.Stop()
	}
	for _, q := range append(slices.Clone(o.Queues), o.Host) {
		w := engine.NewWorker(c, q, engine.WorkerOptions{Log: told, Labels: workflows.Labels, OnFatal: func(err error) {
			select {
			case o.Fatal <- err:
			default:
			}
		}})
		registerWorkflows(w)
		acts.Register(w)
		watching.Register(w)

		if regional != nil {
			regional.Register(w)
		}

		if err := w.Start(); err != nil {
			stop()
			return nil, fail.New(fail.Unavailable, "worker: start", q, "", err)
		}
		ws = append(ws, w)
	}

	return stop, nil
}

// sweepEvery is how often a worker looks for sandboxes that nobody needs.
const sweepEvery = time.Minute

// Sweep removes what was kept for inspection when its recorded time is
// up, and what a drill or a restore left that ended while this host was away:
// at once, because no worker may have been there, and then time and again.
func Sweep(ctx context.Context, root string, ended func(sandbox.Run) bool, every time.Duration, log *slog.Logger) {
	for t := time.NewTicker(every); ; {
		removed, err := sandbox.Sweep(ctx, root, time.Now(), ended)
		if err != nil {
			log.Warn("a sandbox that nobody needs could not be removed; trying again", "err", err)
		}

		for _, id := range removed {
			log.Info("removed a sandbox that nobody needs", "sandbox", id)
		}

		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
	}
}

// ended asks the engine whether a workflow run is closed. A run that the engine
// does not know may be another engine's: its sandbox is left.
func ended(ctx context.Context, c client.Client) func(sandbox.Run) bool {
	return func(r sandbox.Run) bool {
		d, err := c.DescribeWorkflowExecution(ctx, r.Workflow, r.ID)
		return err == nil && d.GetWorkflowExecutionInfo().GetCloseTime() != nil
	}
}

func registerWorkflows(w worker.WorkflowRegistry) {
	for name, f := range map[string]any{
		workflows.TakeCutName:    workflows.TakeCut,
		workflows.TakeBackupName: workflows.TakeBackup,
		workflows.ArchiveName:    workflows.Archive,
		workflows.ObserveName:    workflows.Observe,
		workflows.RestoreName:    workflows.Restore,
		workflows.RunDrillName:   workflows.RunDrill,
		workflows.CheckName:      workflows.Check,
		workflows.RetainName:     workflows.Retain,
		workflows.ScheduledName:  workflows.Scheduled,
		recovery.Name:            recovery.Run,
	} {
		w.RegisterWorkflowWithOptions(f, workflow.RegisterOptions{Name: name})
	}
}

// Hostname is this host's name, "localhost" where it has none.
func Hostname() string {
	h, err := os.Hostname()
	if err != nil || strings.TrimSpace(h) == "" {
		return "localhost"
	}

	return h
}

// Person is who runs this process, at which host; sudo is looked through.
func Person() string {
	name := os.Getenv("SUDO_USER")
	if u, err := user.Current(); name == "" && err == nil {
		name = u.Username
	}

	return name + "@" + Hostname()
}
