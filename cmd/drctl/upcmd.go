package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/told"
	"drctl/config"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/retry"
	"drctl/internal/servers"
	"drctl/internal/supervise"
	"drctl/internal/trust"
	"drctl/restore/readiness"
)

func (a *app) upCmd() *cobra.Command {
	var engineBin string
	c := &cobra.Command{
		Use: "up", Short: "Run everything on this machine: engine, workers, archivers, schedules", Args: cobra.NoArgs,
		Long: `Runs the embedded engine (unless the configuration names your own), a worker for
every region, and keeps archivers and schedules as the configuration has them.
What dies is started again; when drctl up itself is killed nothing is left
behind, and the next drctl up goes on where it stopped.

The embedded engine keeps its state in SQLite and is meant for one machine. In
production point drctl at a Temporal cluster (engine.mode: external) and run
drctl worker in every region.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.up(cmd.Context(), engineBin) },
	}
	c.Flags().StringVar(&engineBin, "engine-bin", "", "path of drctl-engine (default: beside drctl, then PATH)")

	return c
}

func (a *app) up(ctx context.Context, engineBin string) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}

	log, err := a.logger()
	if err != nil {
		return err
	}

	self, err := os.Executable()
	if err != nil {
		return fail.New(fail.Internal, "up", "", "", err)
	}

	// Before drctl vault init there is nothing that could run.
	if _, err := configured.New(cfg, servers.Binaries{}, log).Key(ctx); errors.Is(err, platform.ErrNoKey) {
		return fail.New(fail.NotFound, "up", "", configured.MakeKey, err)
	}

	a.sweep(ctx, cfg.Sandbox.Dir, enginesDir(cfg.StateDir))

	children, err := a.children(cfg, self, engineBin)
	if err != nil {
		return err
	}

	sup, err := supervise.New(supervise.Options{StateDir: cfg.StateDir, Children: children, Log: log})
	if err != nil {
		return err
	}

	go a.announce(ctx, cfg, sup, log)

	return sup.Run(ctx)
}

// preflightGrace is how much longer than everything else the look at stores,
// vaults and grants may take before drctl up says that it is up.
const preflightGrace = 2 * time.Second

// announce applies the configuration once everything is ready.
func (a *app) announce(ctx context.Context, cfg *config.Config, sup *supervise.Supervisor, log *slog.Logger) {
	begin := time.Now()

	s, err := a.watcher(cfg, log)
	if err != nil {
		log.Error("up: nothing can be watched", "err", err)
		return
	}
	w := told.New(log)
	// While engine and workers start: secrets, vaults, stores and grants.
	looked := make(chan []readiness.Problem, 1)
	go func() {
		ps := withoutEngine(s.problems(ctx, ""))
		w.Tell(ctx, ps)

		looked <- ps
	}()

	if err := sup.WaitReady(ctx); err != nil {
		return // Run returns the reason
	}

	for tries := (retry.Policy{First: time.Second, Max: 10 * time.Second, If: retry.Any}).Start(); ; {
		err := a.applyOnce(ctx, cfg, log)
		if err == nil {
			break
		}

		if ctx.Err() != nil {
			return
		}

		log.Warn("up: the configuration could not be applied; trying again", "err", err)

		if tries.Wait(ctx) != nil {
			return
		}
	}
	var ps []readiness.Problem

	all := true
	select {
	case ps = <-looked:
	case <-time.After(preflightGrace):
		all = false
	case <-ctx.Done():
		return
	}

	a.sayUp(cfg, time.Since(begin), ps, all)

	if !all {
		<-looked
	}

	s.watching(ctx, w, "")
}

// sayUp says that everything runs, and what is wrong all the same.
func (a *app) sayUp(cfg *config.Config, took time.Duration, ps []readiness.Problem, all bool) {
	if a.json {
		_ = a.printJSON(answer.Up{Up: true, Took: took, Engine: cfg.Engine.Address, Regions: cfg.RegionNames(),
			Problems: readiness.Texts(ps, time.Now()), Details: ps, AllAnswered: all})

		return
	}

	with := ""
	switch {
	case !all:
		with = "; some stores have not answered yet: see the log and drctl status"
	case len(ps) > 0:
		with = ", with " + human.Plural(len(ps), "problem") + " (see the log, and drctl status): "
		for i, p := range ps {
			if i > 0 {
				with += "; "
			}
			with += p.Short()
		}
	}

	fmt.Fprintf(a.out, "drctl: up after %.1f s (engine %s, %s)%s\n", took.Seconds(), cfg.Engine.Address, human.Plural(len(cfg.Regions), "region"), with)
}

// watcher is a session that looks for problems; it has no engine yet.
func (a *app) watcher(cfg *config.Config, log *slog.Logger) (*session, error) {
	tools, err := configured.Tools(cfg)
	if err != nil {
		return nil, err
	}
	// What it cannot reach is a problem that it tells once; the clients' own
	// lines about it, each time, are not.
	quiet := slog.New(slog.DiscardHandler)

	return &session{app: a, cfg: cfg, log: quiet, p: configured.New(cfg, tools, quiet)}, nil
}

func (a *app) applyOnce(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	c, err := dial(ctx, cfg, log)
	if err != nil {
		return err
	}
	defer c.Close()

	tools, err := configured.Tools(cfg)
	if err != nil {
		return err
	}
	s := &session{app: a, cfg: cfg, log: log, engine: c, p: configured.New(cfg, tools, log)}

	changes, err := s.apply(ctx, false)
	for _, ch := range changes {
		if ch.Action != "kept" {
			log.Info("apply", "what", ch.ID, "action", ch.Action, "note", ch.Note)
		}
	}

	return err
}

func (a *app) children(cfg *config.Config, self, engineBin string) ([]supervise.Child, error) {
	var out []supervise.Child

	var after []string
	if cfg.Engine.Mode == config.Embedded {
		bin, err := findEngine(engineBin)
		if err != nil {
			return nil, err
		}

		_, p, err := net.SplitHostPort(cfg.Engine.Address) // the configuration lets loopback alone through
		if err != nil {
			return nil, fail.New(fail.Invalid, "up", "engine.address", "", err)
		}

		port, err := strconv.Atoi(p)
		if err != nil {
			return nil, fail.New(fail.Invalid, "up", "engine.address", "", err)
		}
		out = append(out, engine.Child("engine", engine.EmbeddedOptions{Bin: bin, Dir: engineDir(cfg), Port: port, Namespace: cfg.Engine.Namespace}))
		after = []string{"engine"}
	}

	for _, region := range cfg.RegionNames() {
		out = append(out, supervise.Child{
			Name:  "worker-" + region,
			After: after,
			Command: func(func(string) string) (*exec.Cmd, error) {
				return exec.Command(self, "--config", cfg.File(), "--log-level", a.logLevel, "--log-format", "json", "--json", "worker", "--region", region, "--supervised"), nil
			},
			ReadyLine: supervise.ParseReport,
			// It waits for an engine of the platform's own as long as that takes.
			ReadyTimeout: math.MaxInt64,
		})
	}

	return out, nil
}

// engineDir is where the embedded engine of drctl up keeps its database and the
// certificate that lets its user in.
func engineDir(cfg *config.Config) string { return filepath.Join(cfg.StateDir, "engine") }

// findEngine finds the engine's program.
func findEngine(hint string) (string, error) {
	if hint != "" {
		return hint, nil
	}

	if self, err := os.Executable(); err == nil {
		if p := filepath.Join(filepath.Dir(self), "drctl-engine"); fileExists(p) {
			return p, trust.Program("engine", p)
		}
	}

	if p, err := exec.LookPath("drctl-engine"); err == nil {
		return p, trust.Program("engine", p)
	}

	return "", fail.New(fail.NotFound, "engine", "drctl-engine", "build it with make tools, or name it with --engine-bin", errors.New("the program is neither beside drctl nor in PATH"))
}

func fileExists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}
