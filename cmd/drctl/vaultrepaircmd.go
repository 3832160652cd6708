package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/internal/fail"
	"drctl/internal/vault"
)

func (a *app) vaultRepairCmd() *cobra.Command {
	var region, from string
	c := &cobra.Command{
		Use: "repair", Short: "Replace what is damaged in a vault by another region's copy",
		Long: `Reads every object of a region's vault and replaces each that is damaged by the
copy in another region's vault, after that copy was proven whole. What is whole
stays; what is damaged in all vaults stays as it is and is named. What is missing
comes back with the next backup, which copies between the vaults.

It needs no engine, and the right to delete objects of the vault. Afterwards:
drctl backup verify. Exit status 4 when something damaged could not be repaired.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.vaultRepair(cmd.Context(), region, from) },
	}
	c.Flags().StringVar(&region, "region", "", "the region whose vault is damaged")
	c.Flags().StringVar(&from, "from", "", "the region whose vault has the copies (default: each other one in turn)")
	_ = c.MarkFlagRequired("region")

	return c
}

func (a *app) vaultRepair(ctx context.Context, region, from string) error {
	s, err := a.offline()
	if err != nil {
		return err
	}

	if err := known("region", "--region", region, s.cfg.RegionNames()); err != nil {
		return err
	}

	if err := knownRegion(s.cfg, "--from", from); err != nil {
		return err
	}

	others := slices.DeleteFunc(s.cfg.RegionNames(), func(r string) bool { return r == region || from != "" && r != from })
	if len(others) == 0 {
		return fail.New(fail.Invalid, "vault repair", region, "name another region's vault: --from", errors.New("there is no other vault to take copies from"))
	}

	to, err := s.p.Vault(ctx, region)
	if err != nil {
		return err
	}

	// The last source decides: it was asked for what those before it had not.
	done := []answer.Repaired{}
	for _, source := range others {
		var keys []string
		if keys, err = repairFrom(ctx, s, source, to); ctx.Err() != nil {
			return err
		}

		for _, key := range keys {
			done = append(done, answer.Repaired{Key: key, From: source})
			if !a.json {
				fmt.Fprintf(a.out, "%s: replaced by the copy of %s\n", key, source)
			}
		}

		if err == nil {
			break
		}
	}

	if a.json {
		err = errors.Join(err, a.printJSON(done))
	} else {
		fmt.Fprintf(a.out, "vault %s: %d objects repaired; look again with: drctl backup verify --vault %s\n", region, len(done), region)
	}

	return err
}

func repairFrom(ctx context.Context, s *session, source string, to *vault.Vault) ([]string, error) {
	v, err := s.p.Vault(ctx, source)
	if err != nil {
		return nil, err
	}

	return vault.Repair(ctx, v, to)
}
