package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/configured"
	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/internal/vault"
)

func (a *app) vaultCmd() *cobra.Command {
	c := &cobra.Command{Use: "vault", Short: "Make, merge and repair the vaults"}
	c.AddCommand(&cobra.Command{
		Use: "init", Short: "Make the key and every region's vault",
		Long: `Makes the age identity in the file that the configuration names under key, or
takes the one that is there, and makes every region's vault with it. Repeating it
is harmless; a vault that was made with another key is refused.

Keep a copy of the key away from every region: without it no vault can be opened.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.vaultInit(cmd.Context()) },
	}, a.vaultRepairCmd(), a.regional().Reconciling().Merge())

	return c
}

func (a *app) vaultInit(ctx context.Context) error {
	cfg, err := a.load()
	if err != nil {
		return err
	}

	log, err := a.logger()
	if err != nil {
		return err
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		return err
	}
	p := configured.New(cfg, tools, log)
	// Look before anything is written: a vault that exists names the key and
	// the set that the others join, and one that cannot be asked may exist.
	set, err := existing(ctx, p)
	if err != nil {
		return err
	}

	if cfg.Key.File != "" && set == "" {
		made, err := configured.NewKey(cfg.Key.File)
		if err != nil {
			return err
		}

		if made && !a.json {
			fmt.Fprintf(a.out, "key: made %s; keep a copy away from every region\n", cfg.Key.File)
		}
	}

	var made []answer.VaultMade
	for _, region := range cfg.RegionNames() {
		opt, err := p.VaultOptions(ctx, region)
		if err != nil {
			return err
		}
		opt.Set = set

		v, err := vault.Init(ctx, opt)
		if err != nil {
			return err
		}
		set = v.SetID()

		made = append(made, answer.VaultMade{Region: region, URL: v.Store().URL(), Set: set, Recipient: v.Recipient()})
		if !a.json {
			fmt.Fprintf(a.out, "vault: %s ready at %s\n", region, v.Store().URL())
		}
	}

	if a.json {
		return a.printJSON(made)
	}

	return nil
}

// existing is the set of the vaults that exist; "" when there are none. The
// configured key must open them all.
func existing(ctx context.Context, p *configured.Platform) (set string, err error) {
	for _, region := range p.Config.RegionNames() {
		opt, err := p.VaultPlace(ctx, region)
		if err != nil {
			return "", err
		}

		_, id, recipient, err := vault.Describe(ctx, opt.Location)
		if errors.Is(err, vault.ErrNoVault) {
			continue
		}

		if err != nil {
			return "", fail.New(fail.CodeOf(err), "vault init: look at the vault of "+region, "", "", err)
		}

		key, err := p.Key(ctx)
		if err != nil {
			return "", fail.New(fail.CodeOf(err), "vault init", opt.Location.URL, "there is a vault: put the key that it was made with in its place",
				fmt.Errorf("the vault is encrypted to %s: %w", recipient, err))
		}

		if key.Recipient() != recipient {
			return "", fail.New(fail.Conflict, "vault init", opt.Location.URL, "configure the key that this vault was made with, or choose an empty location",
				fmt.Errorf("the vault is encrypted to %s, the key given opens %s", recipient, key.Recipient()))
		}

		if set != "" && id != set {
			return "", fail.New(fail.Conflict, "vault init", opt.Location.URL, "configure the vaults of one platform",
				fmt.Errorf("the vault of %s belongs to set %s, another to %s", region, id, set))
		}
		set = id
	}

	return set, nil
}

// sandboxTools is for commands that have no configuration.
func sandboxTools() (servers.Binaries, error) { return servers.Find(servers.Binaries{}) }
