package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/drillview"
	"drctl/cmd/drctl/serve"
	"drctl/drills"
	"drctl/internal/fail"
	"drctl/internal/ui"
	"drctl/workflows"
)

func (a *app) drillCmd() *cobra.Command {
	c := &cobra.Command{Use: "drill", Short: "Rehearse a recovery and prove it"}
	var f restoreFlags
	var disaster, trigger string
	var keep bool
	run := &cobra.Command{
		Use: "run NAME", Short: "Restore a cut into a sandbox, or hold a game day; check, measure, write the report", Args: ui.OneArg("a drill"),
		Long: `A game day breaks servers themselves, as its configuration says, and asks before it begins.
Any other drill restores a cut into a sandbox, checks it, measures RTO and RPO against the
objectives, removes the sandbox and writes a report (JSON and one HTML page).
Exit status 4 when a step or check fails, an objective is missed, or the sandbox
could not be removed.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.drillRun(cmd.Context(), f, args[0], disaster, trigger, keep)
		},
	}
	f.glass(run)
	fl := run.Flags()
	fl.StringVar(&f.vault, "vault", "", "region whose vault alone is read (default: the drill's)")
	fl.BoolVar(&keep, "keep", false, "keep the sandbox")
	fl.StringVar(&disaster, "disaster-at", "", "instant of the (simulated) disaster, RFC 3339: a cut from before it is recovered, RTO and RPO count from it")
	fl.StringVar(&trigger, "trigger", "manual", "manual, change or incident: stands in the report")
	var place vaultFlags
	list := &cobra.Command{
		Use: "list", Short: "List the drills and their last outcome", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.drillList(cmd.Context(), place) },
	}
	var vaultRegion, html string
	show := &cobra.Command{
		Use: "show REPORT", Short: "Show a report from a vault, and check that it is unchanged", Args: ui.OneArg("a report"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.drillShow(cmd.Context(), place, vaultRegion, args[0], html)
		},
	}
	show.Flags().StringVar(&vaultRegion, "vault", "", "region whose vault is read")
	show.Flags().StringVar(&html, "html", "", "write the HTML page to this file")
	place.flags(list)
	place.flags(show)
	fl.BoolVar(&f.yes, "yes", false, "hold a game day without asking")
	c.AddCommand(append(a.gameDays().Commands(), run, list, show, a.plans().Simulate())...)

	return c
}

func (a *app) drillRun(ctx context.Context, f restoreFlags, name, disaster, trigger string, keep bool) error {
	s, err := a.offline()
	if err != nil {
		return err
	}

	if err := known("drill", "NAME", name, s.cfg.DrillNames()); err != nil {
		return err
	}

	if s.cfg.Drills[name].GameDay != nil {
		return a.gameDay(ctx, s, f.yes, name, trigger, map[string]bool{"--keep": keep, "--disaster-at": disaster != "", "--engine": f.engine != "configured", "--vault": f.vault != ""})
	}

	def, err := configured.Drill(s.cfg, name)
	if err != nil {
		return err
	}

	if err := f.engineBinHasEffect(f.engine == "embedded"); err != nil {
		return err
	}

	def.Trigger = trigger
	if f.vault != "" {
		def.Vault = f.vault
	}

	if err := known("region", "--vault", def.Vault, s.cfg.RegionNames()); err != nil {
		return err
	}
	region := s.cfg.Regions[def.Vault]

	in := workflows.RunDrillIn{Drill: def, Queue: region.Queue, By: serve.Person(), Keep: keep, KeepFailed: s.cfg.Sandbox.Keep, Window: 4}
	if rec := s.cfg.Recovery[def.Group]; rec != nil {
		in.Window = rec.Parallel
	}

	if disaster != "" {
		if in.Disaster, err = time.Parse(time.RFC3339Nano, disaster); err != nil {
			return fail.New(fail.Invalid, "flags", "--disaster-at", "write it like 2026-11-23T03:04:05Z", notAnInstant(disaster))
		}

		if in.Disaster.After(time.Now()) {
			return fail.New(fail.Invalid, "flags", "--disaster-at", "name an instant that has passed", fmt.Errorf("%s lies ahead", disaster))
		}
	}

	a.sweep(ctx, s.cfg.Sandbox.Dir, enginesDir(s.cfg.StateDir))

	vaults := s.p
	switch f.engine {
	case "embedded":
		in.Ordered = time.Now().UTC() // the engine's start is part of the way back

		e, stop, err := a.breakGlass(ctx, f.engineBin, s.cfg.Sandbox.Dir, int64(s.cfg.Sandbox.MaxBytes), s.cfg.StateDir, s.p, map[string]string{def.Vault: region.Queue}, s.p.Programs, s.log)
		if err != nil {
			return err
		}
		defer stop()
		s = e
	case "configured":
		if s.engine, err = dial(ctx, s.cfg, s.log); err != nil {
			return err
		}
		defer s.close()
		in.Sandboxes = s.p.SandboxQueue(def.Vault)
	default:
		return fail.New(fail.Invalid, "flags", "--engine", "use configured or embedded", errors.New(f.engine))
	}

	run, err := start(ctx, s.engine, s.ids().Drill(name), workflows.RunDrillName, in.Queue, false, in)
	if err != nil {
		return err
	}

	var out drills.Outcome
	if err := s.wait(ctx, run, true, &out); err != nil {
		return err
	}

	return a.drillView().Done(ctx, vaults, out)
}

// drillView shows records of drills.
func (a *app) drillView() drillview.View {
	return drillview.View{Out: a.out, JSON: a.json, Style: a.style(), Say: a.say}
}
