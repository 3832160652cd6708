package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/lab"
	"drctl/internal/lab/shop"
	"drctl/internal/progress"
	"drctl/internal/sandbox"
	"drctl/internal/ui"
	"drctl/targets"
)

func (a *app) checkCmd() *cobra.Command {
	var box, cutID, vault, region string
	var journals []string
	c := &cobra.Command{
		Use: "check", Short: "Compare a sandbox, or the platform itself, with the journal kept outside the stores", Args: cobra.NoArgs,
		Long: `Checks from outside, without drctl's own code for the stores: everything that was
acknowledged before the cut is there, nothing committed after it and nothing that no
journal has is, transfers are whole, every account and SKU reconciles, the sums
across shards hold. Exit status 4 when anything does not, or was not compared.

With --region it checks the primaries themselves, after a switchover say, when the traffic
has ended: they all are in that region and in no other, and everything that was ever
acknowledged is there.`,
		Example: "  drlab check --sandbox sandbox/1 --cut 0001\n  drlab check --region west",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if region != "" {
				return a.checkPrimaries(cmd.Context(), region, journals)
			}
			return a.check(cmd.Context(), box, cutID, vault, journals)
		},
	}
	f := c.Flags()
	f.StringVar(&box, "sandbox", "", "directory of the sandbox")
	f.StringVar(&cutID, "cut", "", "id of the cut that it was restored to")
	f.StringSliceVar(&journals, "journal", nil, "journal files of all the shop's traffic (default: journal.jsonl in the lab)")
	f.StringVar(&vault, "vault", lab.West, "region whose vault holds the cut's record")
	f.StringVar(&region, "region", "", "check the primaries, which are in this region now")
	c.MarkFlagsOneRequired("sandbox", "region")
	c.MarkFlagsMutuallyExclusive("sandbox", "region")
	c.MarkFlagsRequiredTogether("sandbox", "cut")

	return c
}

func (a *app) check(ctx context.Context, box, cutID, region string, journals []string) error {
	l, err := a.open()
	if err != nil {
		return err
	}

	v, err := l.Vault(ctx, region)
	if err != nil {
		return err
	}

	cut, err := v.Cut(ctx, group, cutID)
	if err != nil {
		return err
	}

	if journals, err = journalsOf(l, journals); err != nil {
		return err
	}

	if box, err = filepath.Abs(box); err != nil {
		return fail.New(fail.Invalid, "check", box, "", err)
	}

	if _, err := sandbox.Open(box); err != nil {
		return err
	}

	p, err := shopOf(l, func(id targets.ShardID) (targets.Instance, error) { return sandbox.Restored(box, id) })
	if err != nil {
		return err
	}

	rep, err := shop.Check(ctx, shop.CheckOptions{Cut: cut, Journals: journals, Platform: p, Claim: shop.ClaimOf(p, cut, lab.HalfDone)})
	if err != nil {
		return err
	}

	return a.printCheck(rep)
}

// checkPrimaries checks what serves.
func (a *app) checkPrimaries(ctx context.Context, region string, journals []string) error {
	l, err := a.open()
	if err != nil {
		return err
	}

	if journals, err = journalsOf(l, journals); err != nil {
		return err
	}

	if err := l.Leads(ctx, region); err != nil {
		return err
	}

	p, err := primaries(l, region)
	if err != nil {
		return err
	}

	rep, err := shop.CheckServing(ctx, shop.CheckOptions{Journals: journals, Platform: p})
	if err != nil {
		return err
	}

	return a.printCheck(rep)
}

// journalsOf are the journals that were named, or the lab's own.
func journalsOf(l *lab.Lab, journals []string) ([]string, error) {
	if len(journals) == 0 {
		journals = []string{l.Journal()}
	}

	for _, j := range journals {
		if _, err := os.Stat(j); err != nil {
			return nil, fail.New(fail.NotFound, "check", j, "name the journals with --journal", err)
		}
	}

	return journals, nil
}

// printCheck prints what was compared and what did not hold, and fails when
// anything did not.
func (a *app) printCheck(r shop.Report) error {
	if a.json {
		if err := ui.PrintJSON(a.out, r); err != nil {
			return err
		}
	} else {
		a.printRules(r)
	}

	if len(r.NotChecked) > 0 && r.Total == 0 {
		return ui.Exit{Code: 4, Message: fmt.Sprintf("not checked: %s", strings.Join(r.NotChecked, ", "))}
	}

	if !r.OK {
		return ui.Exit{Code: 4, Message: fmt.Sprintf("the shop is not what the journal says: %d violations", r.Total)}
	}

	return nil
}

func (a *app) printRules(r shop.Report) {
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

	if r.Cut == shop.Now {
		return
	}

	fmt.Fprintf(a.out, "acknowledged after the cut, and so lost with the region: %d operations in %s\n", r.LostAfterCut, human.Duration(r.LossWindow))
}
