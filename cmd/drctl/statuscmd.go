package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/restore/readiness"
	"drctl/targets"
)

func (a *app) statusCmd() *cobra.Command {
	var group string
	var place vaultFlags
	c := &cobra.Command{
		Use: "status", Short: "Every shard: role, lag, newest base, newest sealed cut, RPO against objective", Args: cobra.NoArgs,
		Long: `Asks every instance and every vault, and the engine for what is running. It goes
on when some of them do not answer and says so. Exit status 4 when it lists a
problem: what fails, since when, why, and what to do next. An objective missed,
a shard that is not archived or whose base is overdue, cuts, bases, checks or
drills that fail, rights that a user lacks, a region that no worker serves, a
vault that falls behind or whose newest check found damage.

With --vault-url and --key it needs no configuration and asks that vault alone.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if place.url != "" {
				return a.statusAlone(cmd.Context(), place, group)
			}
			return a.status(cmd.Context(), group)
		},
	}
	c.Flags().StringVarP(&group, "group", "g", "", "group (default: all)")
	place.flags(c)

	return c
}

func (a *app) status(ctx context.Context, only string) error {
	s, err := a.offline()
	if err != nil {
		return err
	}

	if only != "" {
		if err := known("group", "--group", only, s.cfg.GroupNames()); err != nil {
			return err
		}
	}
	ectx, cancel := context.WithTimeout(ctx, 3*time.Second)
	s.engine, s.engineErr = dial(ectx, s.cfg, s.log)

	cancel()

	defer s.close()

	var groups []platform.Group
	for _, name := range s.cfg.GroupNames() {
		if only != "" && only != name {
			continue
		}

		g, err := s.p.Group(name)
		if err != nil {
			return err
		}
		groups = append(groups, g)
	}

	out := make([]readiness.Status, len(groups))
	for i, g := range groups {
		out[i] = readiness.Gather(ctx, s.sources(), g, readiness.Scope{}).Status()
	}

	if a.json {
		if err := a.printJSON(out); err != nil {
			return err
		}
	} else {
		for _, g := range out {
			a.printStatus(g)
		}
	}

	if ctx.Err() != nil {
		return ctx.Err()
	}

	for _, g := range out {
		if n := len(g.Problems); n > 0 {
			return ui.Exit{Code: 4, Message: g.Group + ": " + human.Plural(n, "problem")}
		}
	}

	return nil
}

func (a *app) printStatus(g readiness.Status) {
	engineState, _, _ := strings.Cut(g.Engine, ":") // why it is unreachable is a problem below
	fmt.Fprintf(a.out, "group %s, engine %s\n", g.Group, engineState)

	if g.NewestCut != "" {
		fmt.Fprintf(a.out, "newest sealed cut %s in %s: RPO %s, objective %s\n", g.NewestCut, strings.Join(g.CutVaults, " and "), human.Duration(g.RPO), human.Duration(g.RPOObjective))

		if len(g.RecoverableIn) > 0 {
			fmt.Fprintf(a.out, "a plan to recover it can be made from the vault of %s\n", strings.Join(g.RecoverableIn, " and of "))
		}
	}

	for _, c := range g.Checks {
		fmt.Fprintf(a.out, "vault of %s checked %s ago: %d checks, %d failed\n", c.Region, human.Duration(time.Since(c.Started)), c.Checks, c.Failed)
	}

	byShard := map[targets.ShardID]readiness.Shard{}
	for _, s := range g.Shards {
		byShard[s.Shard] = s
	}

	var rows [][]string
	for _, i := range g.Instances {
		role, behind, base := string(i.Status.Role), "", ""
		if i.Error != "" {
			role = "unreachable"
		}

		lag := ""
		if i.Status.Role == targets.Standby {
			lag = human.Duration(i.Status.Lag)
		}

		if s, ok := byShard[i.Shard]; ok && i.Status.Writable {
			behind, base = "not archiving", "none"
			if s.Archiving {
				behind = human.Bytes(s.Behind)
			}

			if !s.NewestBase.IsZero() {
				base = human.Duration(time.Since(s.NewestBase)) + " ago"
			}
		}
		rows = append(rows, []string{i.Shard.String(), i.Region, role, i.Status.Version, human.Bytes(i.Status.Bytes), lag, behind, base})
	}

	_ = progress.Table(a.out, []string{"SHARD", "REGION", "ROLE", "VERSION", "SIZE", "LAG", "ARCHIVE BEHIND", "NEWEST BASE"}, rows)
	if len(g.Running) > 0 {
		fmt.Fprintf(a.out, "running: %s\n", strings.Join(g.Running, ", "))
	}

	for _, p := range g.Problems {
		fmt.Fprintln(a.out, "PROBLEM "+p)
	}
}
