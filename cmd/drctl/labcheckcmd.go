package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/lab"
	"drctl/internal/progress"
	"drctl/internal/shop"
	"drctl/targets"
)

func (a *app) labCheck(dir *string) *cobra.Command {
	var box, cutID, journal, region string
	c := &cobra.Command{
		Use: "check", Short: "Compare a recovered sandbox with the journal kept outside the stores", Args: cobra.NoArgs,
		Long: `Checks from outside, without drctl's own code for the stores: everything that was
acknowledged before the cut is there, nothing committed after it is, transfers are
whole, the sums across shards hold. Exit status 4 when anything does not.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.labCheckRun(cmd.Context(), *dir, box, cutID, journal, region)
		},
	}
	f := c.Flags()
	f.StringVar(&box, "sandbox", "", "directory of the sandbox")
	f.StringVar(&cutID, "cut", "", "id of the cut that it was restored to")
	f.StringVar(&journal, "journal", "", "journal file (default: journal.jsonl in the lab)")
	f.StringVar(&region, "vault", lab.West, "region whose vault holds the cut's record")
	_ = c.MarkFlagRequired("sandbox")
	_ = c.MarkFlagRequired("cut")
	return c
}

func (a *app) labCheckRun(ctx context.Context, dir, box, cutID, journal, region string) error {
	if a.configPath == "" {
		a.configPath = filepath.Join(dir, "drctl.yaml")
	}
	s, err := a.offline()
	if err != nil {
		return err
	}
	g, err := s.group("")
	if err != nil {
		return err
	}
	v, err := s.p.Vault(ctx, region)
	if err != nil {
		return err
	}
	cut, err := v.Cut(ctx, g.Name, cutID)
	if err != nil {
		return err
	}
	if journal == "" {
		journal = filepath.Join(dir, "journal.jsonl")
	}
	if _, err := os.Stat(journal); err != nil {
		return fail.New(fail.NotFound, "lab check", journal, "name the journal with --journal", err)
	}
	acc, err := readAccess(box)
	if err != nil {
		return err
	}
	p := shop.Platform{Group: g.Name}
	for _, sh := range g.Shards { // in shard order
		for _, x := range acc {
			if x.Shard != sh.Shard {
				continue
			}
			switch in := instanceOf(x); x.Kind {
			case targets.Postgres:
				p.Postgres = append(p.Postgres, in)
			case targets.Redis:
				p.Redis = append(p.Redis, in)
			case targets.S3:
				p.Media = in
			}
		}
	}
	rep, err := shop.Check(ctx, shop.CheckOptions{Cut: cut, Journal: journal, Platform: p})
	if err != nil {
		return err
	}
	if a.json {
		if err := a.printJSON(rep); err != nil {
			return err
		}
	} else {
		printCheck(a, rep)
	}
	if !rep.OK {
		return exitCode{4, fmt.Sprintf("the recovered shop is not what the journal says: %d violations", rep.Total)}
	}
	return nil
}

// printCheck prints what was compared and what did not hold.
func printCheck(a *app, r shop.Report) {
	var rows [][]string
	for _, rule := range shop.Rules {
		n, looked := r.Checked[rule]
		verdict := "holds"
		switch {
		case slices.Contains(r.NotChecked, rule) || !looked:
			verdict = "not checked"
		case r.ByRule[rule] > 0:
			verdict = fmt.Sprintf("VIOLATED %d times", r.ByRule[rule])
		}
		rows = append(rows, []string{rule, progress.Count(n), verdict})
	}
	_ = progress.Table(a.out, []string{"RULE", "COMPARED", "VERDICT"}, rows)
	for _, v := range r.Violations {
		fmt.Fprintf(a.out, "VIOLATION %s: %s: %s\n", v.Rule, v.Subject, v.Detail)
	}
	fmt.Fprintf(a.out, "acknowledged after the cut, and so lost with the region: %d operations in %s\n", r.LostAfterCut, progress.Duration(r.LossWindow))
}
