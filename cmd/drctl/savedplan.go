package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/restore/inventory"
	"drctl/restore/plan"
)

// savedAlone refuses the flags that a saved plan has settled.
func (f *restoreFlags) savedAlone(c *cobra.Command) error {
	if !c.Flags().Changed("plan") {
		return nil
	}

	for _, name := range []string{"group", "cut", "at", "vault", "into", "shard", "target", "delta", "unproven"} {
		if c.Flags().Changed(name) {
			return fail.New(fail.Invalid, "flags", "--"+name, "leave it out, or make another plan", errors.New("the plan that --plan names has settled it"))
		}
	}

	return nil
}

// planOrSaved makes a plan, or takes the one that was saved. Then it sets the
// flags that the plan has settled.
func (a *app) planOrSaved(ctx context.Context, f *restoreFlags) (planned, error) {
	if f.plan == "" {
		return a.plan(ctx, *f)
	}

	run, err := a.findPlan(ctx, *f)
	if err != nil {
		return planned{}, err
	}
	f.group, f.vault, f.into, f.delta = run.Goal.Group, run.Goal.Vault, run.Goal.Into, run.Goal.Delta

	r, v, group, err := a.vaultFor(ctx, f)
	if err != nil {
		return r, err
	}

	if v.Region() != run.Goal.Vault {
		return r, fail.New(fail.Invalid, "plan: check", run.ID, "name that vault", fmt.Errorf("the plan reads the vault of %s, this is that of %s", run.Goal.Vault, v.Region()))
	}

	if err := inventory.StillHeld(ctx, v, run); err != nil {
		return r, err
	}
	// Where it writes is for the configuration to say, not for what lies in a vault.
	now, err := a.goal(ctx, *f, r, v, group)
	if err != nil {
		return r, err
	}

	if !reflect.DeepEqual(now.Destinations, run.Goal.Destinations) {
		return r, fail.New(fail.Conflict, "plan: check", run.ID, "make a new plan with: drctl restore plan --save", errors.New("the configuration names other destinations than the plan"))
	}

	for _, s := range run.Steps {
		if s.Into != now.Destinations[s.Shard.String()] {
			return r, fail.New(fail.Conflict, "plan: check", s.ID, "make a new plan with: drctl restore plan --save", errors.New("the step writes elsewhere than the configuration says"))
		}
	}
	// A beginning is enough for somebody who sees the plan and confirms it.
	if f.into == plan.Instances && f.yes && !fileExists(f.plan) && f.plan != run.Hash {
		return r, fail.New(fail.Invalid, "flags", "--plan", "give the whole hash: "+run.Hash, errors.New("with --yes nobody looks at the plan that a beginning means"))
	}
	r.plan, r.vault = run, v

	return r, nil
}

// findPlan reads the plan from its file, or from the vault or vaults that are there.
func (a *app) findPlan(ctx context.Context, f restoreFlags) (plan.Run, error) {
	if strings.ContainsAny(f.plan, "/.") || fileExists(f.plan) {
		file, err := os.Open(f.plan)
		if err != nil {
			return plan.Run{}, fail.FromOS("plan: read", f.plan, err)
		}
		defer file.Close()

		return inventory.RunFromJSON(file, f.plan)
	}

	if f.place.url != "" {
		_, v, _, err := a.vaultFor(ctx, &f)
		if err != nil {
			return plan.Run{}, err
		}

		return inventory.SavedRun(ctx, v, f.plan)
	}

	s, err := a.offline()
	if err != nil {
		return plan.Run{}, err
	}

	return inventory.SavedAnywhere(ctx, s.cfg.RegionNames(), s.p.Vault, f.plan)
}
