package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/internal/fail"
	"drctl/internal/ui"
	"drctl/internal/upkeep"
	"drctl/workflows"
)

func (a *app) backupRmCmd(group *string) *cobra.Command {
	var yes, dry bool
	var force string
	c := &cobra.Command{
		Use: "rm BASE", Short: "Remove one base from every vault", Args: ui.OneArg("a base"),
		Long: `Removes one base and its data from every vault of the group, while no backup
runs. It says first which sealed cuts, and which instants of the policy's window,
only this base leads to. Then it refuses, unless --force names the base once more;
a shard's last base stays in any case. A repeat finishes what broke off.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if force != "" && force != args[0] {
				return fail.New(fail.Invalid, "flags", "--force", "repeat the base's id: --force "+args[0], errors.New("it names another base"))
			}
			return a.backupRm(cmd.Context(), *group, args[0], yes, dry, force != "")
		},
	}
	c.Flags().BoolVar(&yes, "yes", false, "do not ask")
	c.Flags().BoolVar(&dry, "dry-run", false, "show what would be removed, and remove nothing")
	c.Flags().StringVar(&force, "force", "", "the base's id again: remove it though something can then no longer be recovered")

	return c
}

func (a *app) backupRm(ctx context.Context, group, id string, yes, dry, force bool) error {
	s, err := a.offline()
	if err != nil {
		return err
	}

	g, err := s.group(group)
	if err != nil {
		return err
	}

	r, loses, would, err := upkeep.LookAtRemoval(ctx, s.p, g, id, force)
	where := "the vault of " + strings.Join(g.Policy.Vaults, " and of ")

	if !a.json && r.Base.ID != "" {
		fmt.Fprintf(a.out, "base %s of %s, in %s\n", id, r.Shard, where)

		if loses.Any() {
			fmt.Fprintf(a.out, "LOST without it: %s\n", loses)
		}
	}

	if err != nil {
		return err
	}
	out := answer.Removed{Base: id, Shard: r.Shard, DryRun: dry, Loses: loses, Vaults: would}

	switch {
	case dry && a.json:
		return a.printJSON(out)
	case dry:
		fmt.Fprintln(a.out, "nothing was removed")
		return nil
	case !yes:
		if err := ui.Confirm(a.err, "backup rm: confirm", "base", id); err != nil {
			return err
		}
	}

	// Through the engine, under the id that excludes backups.
	if s, err = a.online(ctx); err != nil {
		return err
	}
	defer s.close()

	run, err := start(ctx, s.engine, s.ids().Backup(g.Name), workflows.RetainName, g.Queue(g.Home), false, workflows.CheckAllIn{Group: g, Remove: &r})
	if err != nil {
		return err
	}

	out.Vaults = nil
	if err := s.wait(ctx, run, true, &out.Vaults); err != nil {
		return err
	}

	if a.json {
		return a.printJSON(out)
	}

	fmt.Fprintf(a.out, "removed %s from %s\n", id, where)

	return nil
}
