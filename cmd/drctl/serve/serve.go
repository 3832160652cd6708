package serve

import (
	"context"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/activities/actions"
	"drctl/activities/approving"
	"drctl/activities/gamedays"
	"drctl/activities/observing"
	"drctl/activities/onhost"
	"drctl/config/workers"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/sandbox"
	"drctl/internal/servers"
	observers "drctl/internal/watch"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/workflows"
	"drctl/workflows/gameday"
	"drctl/workflows/recovery"
)

// Options say what a worker serves, and with what.
type Options struct {
	Platform         platform.Resolver
	Tools            servers.Binaries
	Log              *slog.Logger
	Queues           []string        // of the regions
	Host             string          // name of this host
	Roles            []platform.Role // none: all but the guard's
	Slots            workers.Slots   // 0: the engine's own
	Sandboxes, State string
	SandboxMax       int64 // bytes; 0 sets no limit
	Owner            int   // process that sandboxes belong to; 0: to their workflows
	Fatal            chan<- error
	Version, Commit  string // of drctl
	// GameDays is what the configuration says of game days; nil where there is none, or
	// where nothing may be broken.
	GameDays gamedays.Resolver
}

// Start serves the queues of the regions, and those of this host there, as far as the
// roles go.
func Start(c client.Client, o Options) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Join(o.State), 0o755); err != nil {
		return nil, fail.New(fail.Denied, "worker: make state directory", o.State, "set state_dir to a directory that this user may write", err)
	}

	do := newDoing(o)
	sctx, cancel := context.WithCancel(context.Background())

	var sweeper sync.WaitGroup
	if o.has(platform.Sandbox) {
		sweeper.Go(func() { Sweep(sctx, o.Sandboxes, ended(sctx, c), sweepEvery, o.Log) })
	}

	var ws []worker.Worker
	stop = func() {
		cancel()
		sweeper.Wait()

		var stopping sync.WaitGroup
		for _, w := range ws {
			stopping.Go(w.Stop)
		}

		stopping.Wait()
		do.observers.Stop()
	}

	if do.days != nil {
		sweeper.Go(func() { sweepFaults(sctx, c, do.days.Faults, o.Log) })
	}

	for _, p := range polls(o) {
		w := do.worker(c, p)
		if err := w.Start(); err != nil {
			stop()
			return nil, fail.New(fail.Unavailable, "worker: start", p.queue, "", err)
		}
		ws = append(ws, w)
	}

	return stop, nil
}

// doing is what the workers of a process do.
type doing struct {
	o         Options
	acts      *activities.Activities
	watching  *observing.Activities
	approvals *approving.Activities
	regional  *actions.Activities // nil where there is nothing that could move
	days      *gamedays.Activities
	observers *observers.Running
}

func newDoing(o Options) doing {
	drivers := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: o.Tools, Log: o.Log}) {
		drivers[d.Kind()] = d
	}

	own := func(r platform.Role) string { return platform.Queue(o.Queues[0], o.Host, r) }
	running := &observers.Running{}
	d := doing{o: o, observers: running}

	d.acts = &activities.Activities{Platform: o.Platform, Drivers: drivers, Tools: o.Tools, SandboxRoot: o.Sandboxes, SandboxMax: o.SandboxMax, SandboxOwner: o.Owner,
		StateDir: o.State, Host: o.Host, HostQueue: own(platform.Sandbox), Logs: all.Logs(), Observers: running, Version: o.Version, Commit: o.Commit, Log: o.Log}
	d.watching = &observing.Activities{Platform: o.Platform, Drivers: drivers, HostQueue: own(platform.Archive), Running: running, Log: o.Log}

	if p, ok := o.Platform.(actions.Resolver); ok { // a vault alone has nothing that could move
		if r, ok := o.Platform.(approving.Resolver); ok {
			d.approvals = &approving.Activities{Platform: r, Log: o.Log}
		}

		d.regional = &actions.Activities{Platform: p, Drivers: drivers, Process: own(platform.Base), Host: o.Host, Log: o.Log, Logs: all.Logs(), Version: o.Version,
			Restore: func(ctx context.Context, run plan.Carried, step string) (plan.StepOut, error) {
				return d.acts.LayDown(ctx, activities.StepIn{Run: run, StepID: step})
			}}
	}

	if o.GameDays != nil && o.has(platform.Base) {
		d.days = &gamedays.Activities{Platform: o.GameDays, Faults: Faults(o.GameDays, o.State, o.Log), Queue: own(platform.Base), Host: o.Host, StateDir: o.State, Version: o.Version, Commit: o.Commit, Log: o.Log}
	}

	return d
}

// worker makes the worker of one queue.
func (d doing) worker(c client.Client, p poll) worker.Worker {
	// A command with an engine of its own shows its failures itself.
	var told *slog.Logger
	if d.o.Owner == 0 {
		told = d.o.Log
	}

	w := engine.NewWorker(c, p.queue, engine.WorkerOptions{Log: told, Labels: workflows.Labels, MaxActivities: p.slots, NoWorkflows: !p.workflows, NoActivities: !p.activities, OnFatal: func(err error) {
		select {
		case d.o.Fatal <- err:
		default:
		}
	}})

	if p.workflows {
		registerWorkflows(w)
	}

	if !p.activities {
		return w
	}

	d.acts.Register(w)
	d.watching.Register(w)

	if d.regional != nil {
		d.regional.Register(w)
	}

	if d.approvals != nil {
		d.approvals.Register(w)
	}

	if d.days != nil {
		d.days.Register(w)
	}

	return w
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
		workflows.GameDayName:    gameday.Run,
		recovery.Name:            recovery.Run,
		onhost.WorkflowName:      recovery.OnHost,
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
