package main

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/activities/observing"
	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/platform"
	"drctl/internal/retry"
	"drctl/internal/sandbox"
	"drctl/internal/servers"
	"drctl/internal/supervise"
	observers "drctl/internal/watch"
	"drctl/targets"
	"drctl/targets/all"
	"drctl/workflows"
)

func (a *app) workerCmd() *cobra.Command {
	var region string
	var supervised bool
	c := &cobra.Command{
		Use: "worker", Short: "Serve one region's task queue", Args: cobra.NoArgs,
		Long: `Serves a region's task queue until it is stopped. Run one or more in each
region, where the region's stores and vault are near. Needs an engine: your own
Temporal (engine.mode external), or the one that drctl up runs. With --json it
says in one line when it serves, or why it cannot.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.work(cmd.Context(), region, supervised)
		},
	}
	c.Flags().StringVar(&region, "region", "", "region to serve")
	c.Flags().BoolVar(&supervised, "supervised", false, "leave warnings of the configuration and the watch to drctl up, which started it")
	_ = c.Flags().MarkHidden("supervised")
	_ = c.MarkFlagRequired("region")

	return c
}

func (a *app) work(ctx context.Context, region string, supervised bool) (err error) {
	serves := false
	defer func() {
		if a.json && err != nil && !serves {
			supervise.Report(a.out, "", err)
		}
	}()

	load := a.load
	if supervised {
		load = a.loadQuietly
	}

	cfg, err := load()
	if err != nil {
		return err
	}

	if err := known("region", "--region", region, cfg.RegionNames()); err != nil {
		return err
	}

	log, err := a.logger()
	if err != nil {
		return err
	}
	log = log.With(logs.Region, region)

	tools, err := configured.Tools(cfg)
	if err != nil {
		return err
	}

	var c client.Client
	for { // the engine may come up after its workers, and come back after a crash
		if c, err = dial(ctx, cfg, log); err == nil {
			break
		}

		if !fail.Retryable(err) {
			return err
		}

		log.Warn("the engine does not answer; trying again", "address", cfg.Engine.Address, logs.Err, err)

		if retry.Sleep(ctx, time.Second) != nil {
			return nil
		}
	}

	defer c.Close()
	fatal := make(chan error, 4)

	stop, err := startWorkers(c, workerOptions{platform: configured.New(cfg, tools, log), tools: tools, log: log,
		queues: []string{cfg.Regions[region].Queue}, host: cfg.Regions[region].Queue + "@" + hostname(),
		sandboxes: cfg.Sandbox.Dir, sandboxMax: int64(cfg.Sandbox.MaxBytes), state: cfg.StateDir, fatal: fatal})
	if err != nil {
		return err
	}
	defer stop()
	serves = true

	if a.json {
		supervise.Report(a.out, cfg.Regions[region].Queue, nil)
	}

	log.Info("worker serves", "queue", cfg.Regions[region].Queue, "engine", cfg.Engine.Address)

	if !supervised {
		go a.watchRegion(ctx, cfg, region, log)
	}

	select {
	case <-ctx.Done():
		log.Info("worker stops")
		return nil
	case err := <-fatal:
		return fail.New(fail.Unavailable, "worker", region, "", err)
	}
}

// watchRegion logs what is wrong in a region, and what changes of it.
func (a *app) watchRegion(ctx context.Context, cfg *config.Config, region string, log *slog.Logger) {
	s, err := a.watcher(cfg, log)
	if err != nil {
		log.Error("worker: nothing can be watched", "err", err)
		return
	}
	w := newWatch(log)
	w.tell(ctx, withoutEngine(s.problems(ctx, region)))
	s.watching(ctx, w, region)
}

type workerOptions struct {
	platform         platform.Resolver
	tools            servers.Binaries
	log              *slog.Logger
	queues           []string
	host             string // queue of this host
	sandboxes, state string
	sandboxMax       int64 // bytes; 0 sets no limit
	owner            int   // process that sandboxes belong to; 0: to their workflows
	fatal            chan<- error
}

// startWorkers serves the queues and this host's own.
func startWorkers(c client.Client, o workerOptions) (stop func(), err error) {
	if err := os.MkdirAll(filepath.Join(o.state), 0o755); err != nil {
		return nil, fail.New(fail.Denied, "worker: make state directory", o.state, "set state_dir to a directory that this user may write", err)
	}

	drivers := map[targets.Kind]targets.Driver{}
	for _, d := range all.Drivers(all.Options{Tools: o.tools, Log: o.log}) {
		drivers[d.Kind()] = d
	}
	running := &observers.Running{}
	acts := &activities.Activities{Platform: o.platform, Drivers: drivers, Tools: o.tools, SandboxRoot: o.sandboxes, SandboxMax: o.sandboxMax, SandboxOwner: o.owner,
		StateDir: o.state, HostQueue: o.host, Logs: all.Logs(), Observers: running, Version: version, Commit: commit, Log: o.log}
	watching := &observing.Activities{Platform: o.platform, Drivers: drivers, HostQueue: o.host, Running: running, Log: o.log}
	// A command with an engine of its own shows its failures itself.
	var told *slog.Logger
	if o.owner == 0 {
		told = o.log
	}

	var ws []worker.Worker
	sctx, cancel := context.WithCancel(context.Background())
	var sweeper sync.WaitGroup
	sweeper.Go(func() { sweepSandboxes(sctx, o.sandboxes, ended(sctx, c), sweepEvery, o.log) })

	stop = func() {
		cancel()
		sweeper.Wait()

		for _, w := range ws {
			w.Stop()
		}

		running.Stop()
	}
	for _, q := range append(slices.Clone(o.queues), o.host) {
		w := engine.NewWorker(c, q, engine.WorkerOptions{Log: told, Labels: workflows.Labels, OnFatal: func(err error) {
			select {
			case o.fatal <- err:
			default:
			}
		}})
		registerWorkflows(w)
		acts.Register(w)
		watching.Register(w)

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

// sweepSandboxes removes what was kept for inspection when its recorded time is
// up, and what a drill or a restore left that ended while this host was away:
// at once, because no worker may have been there, and then time and again.
func sweepSandboxes(ctx context.Context, root string, ended func(sandbox.Run) bool, every time.Duration, log *slog.Logger) {
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
	} {
		w.RegisterWorkflowWithOptions(f, workflow.RegisterOptions{Name: name})
	}
}

func hostname() string {
	h, err := os.Hostname()
	if err != nil || strings.TrimSpace(h) == "" {
		return "localhost"
	}

	return h
}
