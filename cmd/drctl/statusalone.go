package main

import (
	"context"
	"time"

	"drctl/cmd/drctl/statusview"
	"drctl/internal/human"
	"drctl/internal/ui"
	"drctl/restore/readiness/alone"
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

	held, err := alone.Ask(ctx, v, g, time.Now().UTC())
	if err != nil {
		return err
	}

	if a.json {
		err = a.printJSON(held)
	} else {
		err = statusview.Alone(a.out, held)
	}

	if err == nil && len(held.Problems) > 0 {
		err = ui.Exit{Code: 4, Message: held.Group + ": " + human.Plural(len(held.Problems), "problem")}
	}

	return err
}
