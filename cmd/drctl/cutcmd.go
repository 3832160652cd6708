package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"go.temporal.io/sdk/client"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/cutview"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/retry"
	"drctl/internal/ui"
	"drctl/internal/upkeep"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/restore/moments"
	"drctl/targets"
	"drctl/workflows"
)

func (a *app) cutCmd() *cobra.Command {
	c := &cobra.Command{Use: "cut", Aliases: []string{"recovery-point"}, Short: "Take and list consistent recovery points"}
	var group, region string
	var wait, all, stats, windows bool
	var since time.Duration
	var limit int
	var place vaultFlags
	now := &cobra.Command{
		Use: "now", Short: "Take a cut", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.cutNow(cmd.Context(), group, wait) },
	}
	now.Flags().BoolVar(&wait, "wait", true, "wait until the cut is sealed")
	list := &cobra.Command{
		Use: "list", Short: "List the sealed cuts, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if windows {
				return a.cutWindow(cmd.Context(), place, group, region, since)
			}

			return a.cutList(cmd.Context(), place, group, region, all, stats, limit)
		},
	}
	list.Flags().BoolVar(&windows, "window", false, "from when to when any moment can be had, and why not in between")
	list.Flags().DurationVar(&since, "since", 24*time.Hour, "how far back --window looks")
	list.Flags().BoolVar(&all, "all", false, "abandoned cuts too")
	list.Flags().BoolVar(&stats, "stats", false, "percentiles of the barrier's timings over the cuts listed")
	list.Flags().IntVar(&limit, "limit", 20, "newest cuts to list; 0 for all")

	show := &cobra.Command{
		Use: "show CUT", Short: "Show one cut, or the latest: positions and timings per shard, sealed or abandoned", Args: ui.OneArg("a cut"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.cutShow(cmd.Context(), place, group, region, args[0])
		},
	}

	prove, at := a.proveCmd(&place, &group, &region), a.cutAtCmd(&place, &group, &region)
	for _, x := range []*cobra.Command{list, show, prove, at} {
		x.Flags().StringVar(&region, "vault", "", "region whose vault is read (default: the group's home)")
		place.flags(x)
	}

	c.PersistentFlags().StringVarP(&group, "group", "g", "", "group (default: the only one)")
	c.AddCommand(now, list, show, prove, at)

	return c
}

func (a *app) cutNow(ctx context.Context, group string, wait bool) error {
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	defer s.close()

	g, err := s.group(group)
	if err != nil {
		return err
	}
	var run client.WorkflowRun
	// A scheduled cut may be under way: its turn ends with its sealing.
	turn := retry.Policy{First: 200 * time.Millisecond, For: g.Policy.SealWithin + 30*time.Second, If: retry.On(fail.Conflict)}
	say := sync.OnceFunc(func() { a.say(slog.LevelInfo, "another cut is under way; this one follows it") })
	other := s.progressView()
	other.prefix = "other cut: "

	err = retry.Do(ctx, turn, func() (err error) {
		run, err = start(ctx, s.engine, s.ids().Cut(g.Name), workflows.TakeCutName, g.Queue(g.Home), false, workflows.TakeCutIn{Group: g})
		if fail.Is(err, fail.Conflict) {
			say()

			if ps, perr := engine.Progress(ctx, s.engine, s.ids().Cut(g.Name)); perr == nil {
				other.update(ctx, ps) // what the other one waits for
			}
		}

		return err
	})
	other.finish(ctx)

	if err != nil {
		return err
	}

	if !wait {
		return a.started(run, "drctl cut list")
	}

	var cut targets.Cut
	if err := s.wait(ctx, run, false, &cut); err != nil {
		return err
	}

	if a.json {
		return a.printJSON(cut)
	}

	fmt.Fprintln(a.out, cutview.Sealed(cut))
	cutview.Warnings(a.out, cut)

	return nil
}

func (a *app) cutList(ctx context.Context, place vaultFlags, group, region string, all, stats bool, limit int) error {
	v, group, err := a.vaultOrPlace(ctx, place, group, region)
	if err != nil {
		return err
	}

	cuts, damaged := moments.Newest(ctx, v, group, limit)
	if damaged != nil && len(cuts) == 0 {
		return damaged
	}

	var abandoned []inventory.AbandonedCut
	if all {
		if abandoned, err = inventory.Abandoned(ctx, v, group, ""); err != nil && !fail.Is(err, fail.Corrupt) {
			return err
		}
		damaged = errors.Join(damaged, err)
	}

	if a.json {
		out := answer.CutList{Vault: v.Region(), Cuts: cuts}
		if all {
			out.Abandoned = append([]inventory.AbandonedCut{}, abandoned...)
		}

		if stats {
			b := answer.BarrierOf(cuts)
			out.Stats = &b
		}

		if err := a.printJSON(out); err != nil {
			return err
		}

		return damaged
	}

	if len(cuts) == 0 {
		a.say(slog.LevelInfo, "the vault of %s holds no sealed cut of %s; take one with: drctl cut now", v.Region(), group)
	}

	rows := make([][]string, 0, len(cuts))
	for _, c := range cuts {
		rows = append(rows, cutview.Row(c))
	}

	if err := progress.Table(a.out, cutview.Columns, rows); err != nil {
		return err
	}

	for _, x := range abandoned {
		fmt.Fprintf(a.out, "abandoned %s: %s\n", x.Cut.ID, x.Reason)
	}

	if stats && len(cuts) > 0 {
		printBarrierStats(a, answer.BarrierOf(cuts))
	}

	return damaged
}

func printBarrierStats(a *app, f answer.Barrier) {
	fmt.Fprintf(a.out, "barrier over %d cuts: stall p50 %s, p90 %s, p99 %s, max %s; gate wait p50 %s, lock wait p50 %s, hold p50 %s; at most %d attempts\n",
		f.Cuts, human.Duration(f.StallP50), human.Duration(f.StallP90), human.Duration(f.StallP99), human.Duration(f.StallMax),
		human.Duration(f.GateP50), human.Duration(f.LockP50), human.Duration(f.HoldP50), f.AttemptsMax)
	fmt.Fprintf(a.out, "sealed after: p50 %s, p99 %s\n", human.Duration(f.SealP50), human.Duration(f.SealP99))
}

func (a *app) cutShow(ctx context.Context, place vaultFlags, group, region, id string) error {
	v, group, err := a.vaultOrPlace(ctx, place, group, region)
	if err != nil {
		return err
	}

	if named, err := moments.Named(ctx, v, group, id); err == nil {
		id = named
	}

	cut, gone, err := inventory.FindCut(ctx, v, group, id)
	if err != nil {
		return err
	}

	abandoned := gone != nil
	if a.json {
		if abandoned {
			return a.printJSON(gone)
		}

		return a.printJSON(cut)
	}

	end := fmt.Sprintf("sealed %s in %s", cut.SealedAt.Format(time.RFC3339Nano), strings.Join(cut.SealedIn, ", "))
	if abandoned {
		end = fmt.Sprintf("abandoned %s, it cannot be recovered: %s", gone.AbandonedAt.Format(time.RFC3339Nano), gone.Reason)
	}

	return cutview.Show(a.out, cut, end)
}

// vaultOrPlace opens the vault that a listing reads and resolves the group:
// through the configuration, or without one from the vault itself.
func (a *app) vaultOrPlace(ctx context.Context, place vaultFlags, group, region string) (*vault.Vault, string, error) {
	if place.url == "" {
		s, err := a.offline()
		if err != nil {
			return nil, "", err
		}

		g, err := s.group(group)
		if err != nil {
			return nil, "", err
		}

		if region, err = s.vaultOf(ctx, region, g.Name); err != nil {
			return nil, "", err
		}
		v, err := s.p.Vault(ctx, region)

		return v, g.Name, err
	}

	v, err := a.openAlone(ctx, place)
	if err != nil {
		return nil, "", err
	}
	group, err = upkeep.OnlyGroup(ctx, v, group)

	return v, group, err
}
