package main

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/detecting"
	"drctl/cmd/drctl/gamedays"
	"drctl/cmd/drctl/guarding"
	"drctl/cmd/drctl/serve"
	"drctl/cmd/drctl/told"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/platform"
	"drctl/internal/retry"
	"drctl/internal/supervise"
	"drctl/workflows"
)

func (a *app) workerCmd() *cobra.Command {
	var region string
	var roles []string
	var supervised bool
	c := &cobra.Command{
		Use: "worker", Short: "Serve one region's task queue", Args: cobra.NoArgs,
		Long: `Serves a region's task queue until it is stopped. Run one or more in each
region, where the region's stores and vault are near. Needs an engine: your own
Temporal (engine.mode external), or the one that drctl up runs. With --json it
says in one line when it serves, or why it cannot.

--host is the name by which the configuration calls this host: what reads or
writes a data directory here, stops or starts a server here, comes to this
worker and to no other. --role says what it takes of the region's work: archive
(archivers and observers), sandbox (drills and restores into a sandbox), base
(everything else), guard (see drctl guard).`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.work(cmd.Context(), region, roles, supervised)
		},
	}
	c.Flags().StringVar(&region, "region", "", "region to serve")
	c.Flags().BoolVar(&supervised, "supervised", false, "leave warnings of the configuration and the watch to drctl up, which started it")
	a.hostFlag(c)
	c.Flags().StringSliceVar(&roles, "role", nil, "what it does: archive, base, sandbox, guard (default: all but guard)")
	_ = c.Flags().MarkHidden("supervised")
	_ = c.MarkFlagRequired("region")

	return c
}

func (a *app) work(ctx context.Context, region string, as []string, supervised bool) (err error) {
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

	roles, err := serve.Roles(as)
	if err != nil {
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

	if slices.Contains(roles, platform.Guard) {
		b := guarding.Beside{Config: cfg, Region: region, Host: a.hostname(), ConfigFile: cfg.File(), LogLevel: a.logLevel, Log: log}
		defer b.Start(ctx, fatal)()
	}

	p := configured.New(cfg, tools, log)

	stop, err := serve.Start(c, serve.Options{Version: version, Commit: commit, Platform: p, Tools: tools, Log: log,
		Queues: []string{cfg.Regions[region].Queue}, Host: a.hostname(), Roles: roles, Slots: cfg.Workers,
		Sandboxes: cfg.Sandbox.Dir, SandboxMax: int64(cfg.Sandbox.MaxBytes), State: cfg.StateDir, Fatal: fatal, GameDays: gamedays.Resolver{Platform: p, Log: log}})
	if err != nil {
		return err
	}
	defer stop()
	serves = true

	if a.json {
		supervise.Report(a.out, cfg.Regions[region].Queue, nil)
	}

	log.Info("worker serves", "queue", cfg.Regions[region].Queue, "host", a.hostname(), "engine", cfg.Engine.Address)

	go detecting.Serve(ctx, p, c, workflows.IDs(cfg.Name), region, log)

	if !supervised {
		go a.watchRegion(ctx, cfg, region, log)
	}

	select {
	case <-ctx.Done():
		log.Info("worker stops")
		return nil
	case err := <-fatal:
		if fail.Is(err, fail.Invalid) { // of the configuration
			return err
		}

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
	w := told.New(log)
	w.Tell(ctx, withoutEngine(s.problems(ctx, region)))
	s.watching(ctx, w, region)
}
