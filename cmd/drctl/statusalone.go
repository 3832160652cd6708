package main

import (
	"context"
	"fmt"
	"time"

	"drctl/internal/human"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/restore/readiness"
)

// statusAlone shows what the vault that is given says, without a configuration.
func (a *app) statusAlone(ctx context.Context, place vaultFlags, group string) error {
	p, g, regions, err := a.vaultsOf(ctx, place, group, "")
	if err != nil {
		return err
	}

	v, err := p.Vault(ctx, regions[0])
	if err != nil {
		return err
	}

	held, err := readiness.Alone(ctx, v, g, time.Now().UTC())
	if err != nil {
		return err
	}

	if a.json {
		err = a.printJSON(held)
	} else {
		err = a.printHeld(held)
	}

	if err == nil && len(held.Problems) > 0 {
		err = ui.Exit{Code: 4, Message: held.Group + ": " + human.Plural(len(held.Problems), "problem")}
	}

	return err
}

func (a *app) printHeld(h readiness.Held) error {
	fmt.Fprintf(a.out, "group %s in the vault of %s alone; nothing live was asked\n", h.Group, h.Vault)

	if h.Recoverable {
		fmt.Fprintf(a.out, "a plan can be made to cut %s, taken %s ago\n", h.NewestCut, human.Duration(time.Since(h.TakenAt)))
	}

	if h.Checked.IsZero() {
		fmt.Fprintln(a.out, "no check of this vault is on record; check it with: drctl backup verify")
	} else {
		fmt.Fprintf(a.out, "checked %s ago\n", human.Duration(time.Since(h.Checked)))
	}

	rows := make([][]string, len(h.Shards))
	for i, s := range h.Shards {
		rows[i] = []string{s.Shard.String(), string(s.Kind), s.Base, ""}
		if !s.BaseFinished.IsZero() {
			rows[i][3] = human.Duration(time.Since(s.BaseFinished)) + " ago"
		}
	}

	if err := progress.Table(a.out, []string{"SHARD", "KIND", "NEWEST BASE", "FINISHED"}, rows); err != nil {
		return err
	}

	for _, p := range h.Problems {
		fmt.Fprintln(a.out, "PROBLEM "+p)
	}

	return nil
}
