package main

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/restoreview"
	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/internal/upkeep"
	"drctl/targets"
	"drctl/workflows"
)

func (a *app) backupCmd() *cobra.Command {
	c := &cobra.Command{Use: "backup", Short: "Take, list and verify bases and object snapshots"}
	var group, region, readData string
	var wait, full, yes bool
	var shards []string
	var place vaultFlags
	now := &cobra.Command{
		Use: "now", Short: "Take a base of every shard and a snapshot of every object store", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.backupNow(cmd.Context(), group, shards, full, wait)
		},
	}
	now.Flags().BoolVar(&wait, "wait", true, "wait for the end")
	now.Flags().BoolVar(&full, "full", false, "read every byte again instead of trusting size and time")
	now.Flags().StringSliceVar(&shards, "shard", nil, "only these shards (target/shard)")
	list := &cobra.Command{
		Use: "list", Short: "List the bases", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.backupList(cmd.Context(), place, group, region, shards)
		},
	}
	list.Flags().StringSliceVar(&shards, "shard", nil, "only these shards (target/shard)")
	show := &cobra.Command{
		Use: "show BASE", Short: "Show one base", Args: ui.OneArg("a base"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.backupShow(cmd.Context(), place, group, region, args[0])
		},
	}
	verify := &cobra.Command{
		Use: "verify", Short: "Check that everything stored is whole",
		Long: `Reads every encrypted object of the group, checks the streams for gaps and the
restic repositories, in one region's vault or in all of them. Exit status 4 when
something is damaged. It needs no engine. The outcome is kept in the vaults for
drctl status.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.backupVerify(cmd.Context(), place, group, region, readData)
		},
	}
	verify.Flags().StringVar(&readData, "read-data", "1/1", "part of the base data to read: n/t, or empty for none")

	for _, x := range []*cobra.Command{list, show, verify} {
		x.Flags().StringVar(&region, "vault", "", "region whose vault is read")
		place.flags(x)
	}
	prune := &cobra.Command{
		Use: "prune", Short: "Show what the policy's retention would remove now, or remove it", Args: cobra.NoArgs,
		Long: `Retention runs daily by itself, between the bases. This shows what it would remove from each vault
now; with --yes it removes it. Nothing that a kept cut needs is ever removed.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.backupPrune(cmd.Context(), group, yes) },
	}
	prune.Flags().BoolVar(&yes, "yes", false, "remove")
	c.PersistentFlags().StringVarP(&group, "group", "g", "", "group (default: the only one)")
	c.AddCommand(now, list, show, verify, prune, a.backupRmCmd(&group))

	return c
}

func (a *app) backupNow(ctx context.Context, group string, names []string, full, wait bool) error {
	s, err := a.online(ctx)
	if err != nil {
		return err
	}
	defer s.close()

	g, err := s.group(group)
	if err != nil {
		return err
	}

	shards, err := s.shardsOf(g.Name, names)
	if err != nil {
		return err
	}

	run, err := start(ctx, s.engine, s.ids().Backup(g.Name), workflows.TakeBackupName, g.Queue(g.Home), false,
		workflows.TakeBackupIn{Group: g, Shards: shards, Full: full})
	if err != nil {
		return err
	}

	if !wait {
		return a.started(run, "drctl runs attach "+run.GetID())
	}

	var out workflows.BackupOut
	if err := s.wait(ctx, run, true, &out); err != nil {
		return err
	}

	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	}
	var bases, objects [][]string
	failed, behind, all := 0, 0, len(out.Bases)+len(out.Objects)
	note := func(shard targets.ShardID, why string) {
		failed++

		a.say(slog.LevelError, "backup of %s failed: %s", shard, why)
	}

	partly := func(shard targets.ShardID, in []string, why string) {
		if why != "" {
			behind++

			a.say(slog.LevelInfo, "only the vault of %s holds the backup of %s; the next backup copies it: %s", strings.Join(in, " and "), shard, why)
		}
	}
	for _, b := range out.Bases {
		if b.Error != "" {
			note(b.Shard, b.Error)
			continue
		}

		partly(b.Shard, append([]string{b.Vault}, b.CopiedTo...), b.Behind)
		bases = append(bases, baseRow(b.Base))
	}

	for _, o := range out.Objects {
		if o.Error != "" {
			note(o.Shard, o.Error)
			continue
		}

		partly(o.Shard, o.StoredIn, o.Behind)
		objects = append(objects, []string{o.Shard.String(), o.Position.AsOf.Local().Format(time.DateTime), human.Count(o.Stats.Objects),
			human.Bytes(o.Stats.Bytes), human.Count(o.Stats.NewObjects), human.Bytes(o.Stats.NewBytes), strings.Join(o.StoredIn, ",")})
	}

	if !a.json && len(bases) > 0 {
		_ = progress.Table(a.out, baseHeaders, bases) // how the backup went says the exit code
	}

	if !a.json && len(objects) > 0 {
		_ = progress.Table(a.out, []string{"OBJECTS OF", "AS OF", "OBJECTS", "BYTES", "NEW", "NEW BYTES", "STORED IN"}, objects)
	}

	switch {
	case failed == 0 && behind > 0:
		return ui.Exit{Code: 3, Message: fmt.Sprintf("the backup is done, but %d of %d shards are not in every vault", behind, all)}
	case failed == 0 && out.CutsError != "":
		return ui.Exit{Code: 3, Message: "the backup is done; some vaults may lack cuts that they missed: " + out.CutsError}
	case failed == 0:
		return nil
	case failed < all:
		return ui.Exit{Code: 3, Message: fmt.Sprintf("%d of %d shards failed", failed, all)}
	}

	return ui.Exit{Code: 1, Message: "every shard failed"}
}

var baseHeaders = []string{"BASE", "SHARD", "FINISHED", "TOOK", "READ", "ADDED", "METHOD", "USABLE FROM"}

func baseRow(b targets.Artifact) []string {
	method := b.Method
	if b.Full {
		method += ", full"
	}

	return []string{b.ID, b.Shard.String(), b.Finished.Local().Format(time.DateTime), human.Duration(b.Finished.Sub(b.Started)),
		human.Bytes(b.Bytes), human.Bytes(b.BytesAdded), method, b.Until.String()}
}

func (a *app) bases(ctx context.Context, place vaultFlags, group, region string, names []string) (list []targets.Artifact, damaged, err error) {
	want, err := shardsFlag(names)
	if err != nil {
		return nil, nil, err
	}

	p, g, regions, err := a.vaultsOf(ctx, place, group, region)
	if err != nil {
		return nil, nil, err
	}

	if place.url == "" {
		s, err := a.offline()
		if err != nil {
			return nil, nil, err
		}

		if region, err = s.vaultOf(ctx, region, g.Name); err != nil {
			return nil, nil, err
		}
		regions = []string{region}
	}

	v, err := p.Vault(ctx, regions[0])
	if err != nil {
		return nil, nil, err
	}

	if len(want) == 0 {
		for _, sh := range g.Shards {
			if sh.Kind.Traits().Log {
				want = append(want, sh.Shard)
			}
		}
	}

	for _, id := range want {
		bs, err := v.Bases(ctx, id)
		if err != nil {
			damaged = err
		}
		list = append(list, bs...)
	}

	return list, damaged, nil
}

func (a *app) backupList(ctx context.Context, place vaultFlags, group, region string, names []string) error {
	list, damaged, err := a.bases(ctx, place, group, region, names)
	if err != nil {
		return err
	}

	if a.json {
		if err := a.printJSON(list); err != nil {
			return err
		}

		return damaged
	}

	if len(list) == 0 && damaged == nil {
		a.say(slog.LevelInfo, "the vault holds no base; take one with: drctl backup now")
	}

	rows := make([][]string, len(list))
	for i, b := range list {
		rows[i] = baseRow(b)
	}

	if err := progress.Table(a.out, baseHeaders, rows); err != nil {
		return err
	}

	return damaged
}

func (a *app) backupShow(ctx context.Context, place vaultFlags, group, region, id string) error {
	list, _, err := a.bases(ctx, place, group, region, nil)
	if err != nil {
		return err
	}

	for _, b := range list {
		if b.ID == id {
			return a.printJSON(b)
		}
	}

	return ui.Exit{Code: 1, Message: "backup show: " + id + ": there is no such base (list them with: drctl backup list)"}
}

func (a *app) backupVerify(ctx context.Context, place vaultFlags, group, region, readData string) error {
	p, g, regions, err := a.vaultsOf(ctx, place, group, region)
	if err != nil {
		return err
	}
	var outs []upkeep.Check

	failed := 0
	for _, r := range regions {
		v, err := p.Vault(ctx, r)
		if err != nil {
			return err
		}
		d := a.display()
		row := "vault of " + r
		out, err := upkeep.CheckVault(ctx, v, g, readData, d.Reporter(row, progress.Octets))
		d.Finish(row, err)
		d.Close()

		if err != nil {
			return err
		}

		if err := upkeep.SaveCheck(ctx, p, g, out); err != nil {
			a.say(slog.LevelWarn, "the report could not be saved, so drctl status does not know of this check: %v", err)
		}
		failed += out.Failed

		outs = append(outs, out)
		if !a.json {
			restoreview.Findings(a.out, out.Findings)
			fmt.Fprintf(a.out, "vault %s: %d checks, %d failed, took %s\n", r, len(out.Findings), out.Failed, human.Duration(out.Took))
		}
	}

	if a.json {
		if err := a.printJSON(outs); err != nil {
			return err
		}
	}

	if failed > 0 {
		return ui.Exit{Code: 4, Message: fmt.Sprintf("verification failed: %d findings; restore from another region's vault and take a new base (drctl backup now --full)", failed)}
	}

	return nil
}

func (a *app) backupPrune(ctx context.Context, group string, yes bool) error {
	var outs []upkeep.Retention
	if yes {
		// Through the engine, under the id that excludes backups.
		s, err := a.online(ctx)
		if err != nil {
			return err
		}
		defer s.close()

		g, err := s.group(group)
		if err != nil {
			return err
		}

		run, err := start(ctx, s.engine, s.ids().Backup(g.Name), workflows.RetainName, g.Queue(g.Home), false, workflows.CheckAllIn{Group: g})
		if err != nil {
			return err
		}

		if err := s.wait(ctx, run, true, &outs); err != nil {
			return err
		}
	} else {
		s, err := a.offline()
		if err != nil {
			return err
		}

		g, err := s.group(group)
		if err != nil {
			return err
		}

		for _, r := range g.Policy.Vaults {
			v, err := s.p.Vault(ctx, r)
			if err != nil {
				return err
			}

			out, err := upkeep.WouldRetain(ctx, v, g, time.Now().UTC())
			if err != nil {
				return err
			}
			outs = append(outs, out)
		}
	}

	if a.json {
		return a.printJSON(outs)
	}

	verb := map[bool]string{false: "would remove", true: "removed"}[yes]

	for _, o := range outs {
		fmt.Fprintf(a.out, "vault %s: %s %d cuts, %d bases, %d chunks (%s), %d objects (%s), %d more later, %d batches of observations; %d cuts stay\n", o.Region, verb, o.Cuts, o.Bases,
			o.Result.Chunks, human.Bytes(o.Result.ChunkBytes), o.Result.Objects, human.Bytes(o.Result.ObjectBytes), o.Result.Condemned, o.Observations, o.Plan.KeptCuts)
	}

	return nil
}
