package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/complete"
	"drctl/cmd/drctl/detecting"
	"drctl/cmd/drctl/guarding"
	"drctl/cmd/drctl/plans"
	"drctl/config"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/progress"
	"drctl/internal/trust"
	"drctl/internal/ui"
)

// app is what every command shares: where it prints, and the global flags.
type app struct {
	out, err              io.Writer
	configPath            string
	json, noColor, warned bool
	logLevel, logFormat   string
	host                  string // name of this host; "" is its hostname
}

func newApp(out, errw io.Writer) *app { return &app{out: out, err: errw} }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "drctl",
		Short: "Consistent recovery points of a sharded platform, proven",
		Long: `drctl takes consistent recovery points across sharded PostgreSQL, Redis and
object stores, keeps checking that they are whole, rehearses their recovery and
recovers them.

Exit status: 0 done, 1 failed, 2 wrong usage or configuration, 3 partly done,
4 a check failed or an objective was missed, 130 interrupted.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version + " (" + commit + ")",
	}
	f := root.PersistentFlags()
	f.StringVarP(&a.configPath, "config", "c", "", "configuration file (default $DRCTL_CONFIG, ./drctl.yaml, /etc/drctl/drctl.yaml)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.BoolVar(&a.noColor, "no-color", os.Getenv("NO_COLOR") != "", "no colour (also NO_COLOR)")
	f.StringVar(&a.logLevel, "log-level", "info", "debug, info, warn or error")
	f.StringVar(&a.logFormat, "log-format", "text", "text or json")
	root.AddCommand(a.configCmd(), a.vaultCmd(), a.upCmd(), a.workerCmd(), a.applyCmd(), a.statusCmd(),
		a.cutCmd(), a.backupCmd(), a.restoreCmd(), a.sandboxCmd(), a.drillCmd(), a.plans().Command(), a.scheduleCmd(), a.runsCmd(), a.versionCmd(), labCmd(), guarding.Command(a.load, a.logger),
		detecting.Faces{Load: a.load, Logger: a.logger, Out: a.out, JSON: &a.json}.Command())
	root.AddCommand(a.regional().Commands()...)
	ui.Strict(root)
	complete.Wire(root, a.completion())

	return root
}

func (a *app) plans() plans.Faces { return plans.Faces{Load: a.load, Out: a.out, JSON: &a.json} }

// load reads the configuration.
func (a *app) load() (*config.Config, error) {
	cfg, err := a.loadQuietly()
	if err != nil {
		return nil, err
	}

	a.warn(cfg)

	return cfg, nil
}

// warn prints what deserves a look, once, however often a command reads its
// configuration.
func (a *app) warn(cfg *config.Config) {
	for _, w := range cfg.Warnings() {
		if !a.warned {
			a.say(slog.LevelWarn, "%s", w)
		}
	}

	a.warned = true
}

// say tells a person something beside the answer: a line that begins with
// drctl, or a log record where the log is JSON.
func (a *app) say(level slog.Level, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if log, err := a.logger(); err == nil && a.logFormat == logs.JSON {
		log.Log(context.Background(), level, text)
		return
	}

	if level == slog.LevelWarn {
		text = "warning: " + text
	}

	fmt.Fprintf(a.err, "drctl: %s\n", text)
}

// loadQuietly reads the configuration without a word about what deserves a look.
func (a *app) loadQuietly() (*config.Config, error) {
	path, err := a.findConfig()
	if err != nil {
		return nil, err
	}

	return config.Load(path, os.LookupEnv)
}

func (a *app) findConfig() (string, error) {
	if a.configPath != "" {
		return a.configPath, nil
	}

	if p := os.Getenv("DRCTL_CONFIG"); p != "" {
		return p, nil
	}

	const here = "drctl.yaml"
	if info, err := os.Stat(here); err == nil {
		// Nobody named it: in a directory of all it may be anybody's.
		if err := trust.Owned("configuration", here, info); err != nil {
			return "", err
		}

		return filepath.Abs(here)
	}

	if p := "/etc/drctl/drctl.yaml"; fileExists(p) {
		return p, nil
	}

	return "", fail.New(fail.Invalid, "configuration", "", "name one with --config, or begin with: drctl config example > drctl.yaml",
		errors.New("no configuration file: $DRCTL_CONFIG is not set, and there is no ./drctl.yaml and no /etc/drctl/drctl.yaml"))
}

func (a *app) logger() (*slog.Logger, error) { return logs.New(a.err, a.logFormat, a.logLevel) }

// labCmd points those who know drctl lab to the program that it became.
func labCmd() *cobra.Command {
	return &cobra.Command{Use: "lab", Hidden: true, DisableFlagParsing: true, RunE: func(*cobra.Command, []string) error {
		return fail.New(fail.Invalid, "command", "lab", "the lab is a program of its own: drlab", errors.New("unknown command"))
	}}
}

// style is how text is coloured.
func (a *app) style() progress.Style { return ui.Style(a.out, a.noColor) }

// printJSON prints v, indented.
func (a *app) printJSON(v any) error { return ui.PrintJSON(a.out, v) }
