package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/configured"
	"drctl/config"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/retry"
	"drctl/internal/supervise"
	"drctl/restore/readiness"
	"drctl/targets"
	"drctl/workflows"
	"drctl/workflows/observe"
	"drctl/workflows/starting"
)

// session is one command's connection to the platform and its engine.
type session struct {
	app    *app
	cfg    *config.Config
	p      *configured.Platform
	log    *slog.Logger
	engine client.Client
	// engineErr is why there is no engine, when it was asked for.
	engineErr error
	// own says that the engine ends with this command.
	own bool
}

// embedded reports whether the engine is the one that drctl up runs.
func (s *session) embedded() bool { return s.cfg != nil && s.cfg.Engine.Mode == config.Embedded }

// offline loads the configuration without dialling the engine.
func (a *app) offline() (*session, error) {
	cfg, err := a.load()
	if err != nil {
		return nil, err
	}

	log, err := a.logger()
	if err != nil {
		return nil, err
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		return nil, err
	}

	return &session{app: a, cfg: cfg, log: log, p: configured.New(cfg, tools, log)}, nil
}

// online dials the engine too.
func (a *app) online(ctx context.Context) (*session, error) {
	s, err := a.offline()
	if err != nil {
		return nil, err
	}
	// While drctl up brings the engine back after a crash, a command waits for
	// it instead of failing.
	say := sync.OnceFunc(func() { a.say(slog.LevelInfo, "waiting for the engine, which drctl up starts again") })
	comesBack := func(err error) bool {
		st, serr := supervise.ReadState(s.cfg.StateDir)
		if !fail.Retryable(err) || serr != nil || !st.Alive() {
			return false
		}

		say()

		return true
	}

	return s, retry.Do(ctx, retry.Policy{First: 500 * time.Millisecond, For: engineGrace, If: comesBack}, func() (err error) {
		s.engine, err = dial(ctx, s.cfg, s.log)
		return err
	})
}

// engineGrace is how long a command waits for an engine that is being restarted.
const engineGrace = 20 * time.Second

// ids makes the platform's workflow ids.
func (s *session) ids() workflows.IDs {
	if s.cfg == nil { // only a vault is left
		return ""
	}

	return workflows.IDs(s.cfg.Name)
}

// sources are what is asked for the readiness of the platform.
func (s *session) sources() readiness.Sources {
	o := observe.Observer{Client: s.engine, Err: s.engineErr, IDs: s.ids(), Embedded: s.embedded(), Schedules: s.schedules, Queues: s.p.Served,
		Drills: func(group string) []string {
			return slices.DeleteFunc(s.cfg.DrillNames(), func(name string) bool { return s.cfg.Drills[name].Group != group })
		}}

	return readiness.Sources{Platform: s.p, Driver: driversOf(s.p.Programs, s.log), Regions: s.cfg.RegionNames(), Engine: o.Group, Failover: s.app.plans().Today(s.cfg)}
}

func (s *session) close() {
	if s.engine != nil {
		s.engine.Close()
	}
}

func dial(ctx context.Context, cfg *config.Config, log *slog.Logger) (client.Client, error) {
	opt := engine.Options{Address: cfg.Engine.Address, Namespace: cfg.Engine.Namespace, Log: log}
	if cfg.Engine.Mode == config.Embedded {
		opt.Dir = engineDir(cfg)
	}

	if t := cfg.Engine.TLS; t != nil {
		opt.TLS = &engine.TLS{CAFile: t.CAFile, CertFile: t.CertFile, KeyFile: t.KeyFile, ServerName: t.ServerName}
	}

	if !cfg.Engine.APIKey.IsZero() {
		k, err := cfg.Secret(ctx, cfg.Engine.APIKey)
		if err != nil {
			return nil, err
		}
		opt.APIKey = k
	}

	c, err := engine.Dial(ctx, opt)
	if fail.Is(err, fail.Unavailable) && cfg.Engine.Mode == config.Embedded {
		return nil, fail.New(fail.Unavailable, "engine", cfg.Engine.Address, "start it with: drctl up; or recover without it: drctl restore run --engine embedded", err)
	}

	return c, err // its code says whether trying again can help
}

// group resolves the group's name: the only one when none is given.
func (s *session) group(name string) (platform.Group, error) {
	if name == "" {
		names := s.cfg.GroupNames()
		if len(names) != 1 {
			return platform.Group{}, fail.New(fail.Invalid, "flags", "--group", "name one of: "+strings.Join(names, ", "), errors.New("there is more than one group"))
		}
		name = names[0]
	}

	if err := known("group", "--group", name, s.cfg.GroupNames()); err != nil {
		return platform.Group{}, err
	}

	return s.p.Group(name)
}

// start starts a workflow. One that runs already under this id is joined when
// the caller may, else it is a conflict.
func start(ctx context.Context, c client.Client, id, name, queue string, join bool, arg any) (client.WorkflowRun, error) {
	return starting.Run(ctx, c, id, name, queue, limitByHand(name), join, arg)
}

// started says which run a command leaves to the engine.
func (a *app) started(run client.WorkflowRun, follow string) error {
	if a.json {
		return a.printJSON(answer.Started{WorkflowID: run.GetID(), RunID: run.GetRunID()})
	}

	fmt.Fprintf(a.out, "started %s; follow it with: %s\n", run.GetID(), follow)

	return nil
}

// The limits of wait.
const (
	// cancelLimit is how long an interrupted command waits for the run's
	// clean-up, deadLimit how long when no worker is there to do it.
	cancelLimit = 5 * time.Minute
	deadLimit   = 5 * time.Second
	// askServed is how often it looks whether somebody serves what it waits for.
	askServed = 5 * time.Second
)

// wait waits for a run, showing its activities' progress, and decodes its
// result and its error. When the command is interrupted and stop is set, the
// run is cancelled and its clean-up awaited, within a limit. It says at once
// when no worker serves what the run waits for.
func (s *session) wait(ctx context.Context, run client.WorkflowRun, stop bool, result any) error {
	view := s.progressView()

	done := make(chan error, 1)
	go func() { done <- run.Get(context.WithoutCancel(ctx), result) }()

	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	served := s.watchServed(run)
	interrupted := false

	var limit <-chan time.Time
	for {
		select {
		case err := <-done:
			fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
			view.finish(fctx)
			cancel()

			if interrupted && err != nil {
				return errors.Join(context.Canceled, engine.DecodeError(err))
			}
			// A run that had come to its end before it was cancelled is done, and
			// what it made is there: the caller reports it.
			return engine.DecodeError(err)
		case <-ctx.Done():
			if !stop {
				view.d.Close()
				s.app.say(slog.LevelInfo, "%s goes on in the engine", run.GetID())

				return ctx.Err()
			}
			interrupted = true
			ctx = context.WithoutCancel(ctx)

			s.app.say(slog.LevelInfo, "cancelling %s and cleaning up%s", run.GetID(), s.again())

			if err := s.cancel(ctx, run); err != nil {
				return err
			}

			limit = time.After(cancelLimit)
			if served.dead(ctx) {
				limit = time.After(deadLimit)
			}
		case <-limit:
			view.d.Close()
			s.app.say(slog.LevelInfo, "left %s to the engine: it has been asked to end, and does when %s", run.GetID(), served.need())

			return context.Canceled
		case <-tick.C:
			ps, err := engine.Progress(ctx, s.engine, run.GetID())
			if err == nil {
				view.update(ctx, ps)
			}

			if !interrupted && err == nil {
				served.look(ctx, ps)
			}
		}
	}
}

// again says what a second interrupt does.
func (s *session) again() string {
	if s.own {
		return "; interrupt again to end at once"
	}

	return "; press again to leave it to the engine"
}

func (s *session) cancel(ctx context.Context, run client.WorkflowRun) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()

	if err := s.engine.CancelWorkflow(ctx, run.GetID(), run.GetRunID()); err != nil {
		return fail.New(fail.Unavailable, "engine: cancel", run.GetID(), "", err)
	}

	return nil
}

// vaultOf says which region's vault lists are read from: the one that is named,
// or the group's home, or the first of its policy that can be opened.
func (s *session) vaultOf(ctx context.Context, region, group string) (string, error) {
	if region != "" {
		return region, known("region", "--vault", region, s.cfg.RegionNames())
	}

	g, err := s.group(group)
	if err != nil {
		return "", err
	}

	if _, err := s.p.Vault(ctx, g.Home); err == nil {
		return g.Home, nil
	}

	for _, r := range g.Policy.Vaults {
		if _, err := s.p.Vault(ctx, r); err == nil {
			s.app.say(slog.LevelInfo, "the vault of %s is out of reach; reading that of %s", g.Home, r)
			return r, nil
		}
	}

	return g.Home, nil // its own error follows
}

func shardsFlag(names []string) ([]targets.ShardID, error) {
	var out []targets.ShardID
	for _, n := range names {
		id, err := targets.ParseShardID(n)
		if err != nil {
			return nil, fail.New(fail.Invalid, "flags", "--shard", "write it as target/shard, for example orders/0", err)
		}
		out = append(out, id)
	}

	return out, nil
}
