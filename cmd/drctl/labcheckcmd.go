package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drctl/activities"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/lab"
	"drctl/internal/progress"
	"drctl/internal/shop"
	"drctl/targets"
)

func (a *app) labCheck(dir *string) *cobra.Command {
	var box, cutID, region string
	var journals []string
	c := &cobra.Command{
		Use: "check", Short: "Compare a recovered sandbox with the journal kept outside the stores", Args: cobra.NoArgs,
		Long: `Checks from outside, without drctl's own code for the stores: everything that was
acknowledged before the cut is there, nothing committed after it and nothing that no
journal has is, transfers are whole, every account and SKU reconciles, the sums
across shards hold. Exit status 4 when anything does not, or was not compared.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.labCheckRun(cmd.Context(), *dir, box, cutID, region, journals)
		},
	}
	f := c.Flags()
	f.StringVar(&box, "sandbox", "", "directory of the sandbox")
	f.StringVar(&cutID, "cut", "", "id of the cut that it was restored to")
	f.StringSliceVar(&journals, "journal", nil, "journal files of all the shop's traffic (default: journal.jsonl in the lab)")
	f.StringVar(&region, "vault", lab.West, "region whose vault holds the cut's record")
	_ = c.MarkFlagRequired("sandbox")
	_ = c.MarkFlagRequired("cut")
	return c
}

func (a *app) labCheckRun(ctx context.Context, dir, box, cutID, region string, journals []string) error {
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
	if len(journals) == 0 {
		journals = []string{filepath.Join(dir, "journal.jsonl")}
	}
	for _, j := range journals {
		if _, err := os.Stat(j); err != nil {
			return fail.New(fail.NotFound, "lab check", j, "name the journals with --journal", err)
		}
	}
	acc, err := readAccess(box)
	if err != nil {
		return err
	}
	p := shop.Platform{Group: g.Name}
	for _, sh := range g.Shards { // in shard order
		at := slices.IndexFunc(acc, func(x activities.Access) bool { return x.Shard == sh.Shard })
		if at < 0 {
			return fail.New(fail.NotFound, "lab check", sh.Shard.String(), "restore the whole group", fmt.Errorf("the sandbox %s does not hold it", box))
		}
		switch in := instanceOf(acc[at]); in.Kind {
		case targets.Postgres:
			p.Postgres = append(p.Postgres, in)
		case targets.Redis:
			p.Redis = append(p.Redis, in)
		case targets.S3:
			p.Media = in
		}
	}
	rep, err := shop.Check(ctx, shop.CheckOptions{Cut: cut, Journals: journals, Platform: p})
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
	if len(rep.NotChecked) > 0 && rep.Total == 0 {
		return exitCode{4, fmt.Sprintf("not checked: %s", strings.Join(rep.NotChecked, ", "))}
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
		case slices.Contains(r.NotChecked, rule):
			verdict = "NOT CHECKED"
		case r.ByRule[rule] > 0:
			verdict = fmt.Sprintf("VIOLATED %d times", r.ByRule[rule])
		case !looked:
			verdict = "nothing to compare"
		}
		rows = append(rows, []string{rule, human.Count(n), verdict})
	}
	_ = progress.Table(a.out, []string{"RULE", "COMPARED", "VERDICT"}, rows)
	for _, v := range r.Violations {
		fmt.Fprintf(a.out, "VIOLATION %s: %s: %s\n", v.Rule, v.Subject, v.Detail)
	}
	fmt.Fprintf(a.out, "acknowledged after the cut, and so lost with the region: %d operations in %s\n", r.LostAfterCut, human.Duration(r.LossWindow))
}
