package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/cutview"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/restore/moments"
	"drctl/targets"
	"drctl/targets/all"
)

// looked is a vault that is looked into for moments.
type looked struct {
	moments.Place
	group string
	g     *platform.Group // nil without a configuration
	set   vault.Set       // where a moment is kept
}

// look opens the vault that a command asks for moments, through the configuration or alone.
func (a *app) look(ctx context.Context, place vaultFlags, group, region string) (looked, error) {
	v, group, err := a.vaultOrPlace(ctx, place, group, region)
	if err != nil {
		return looked{}, err
	}

	l := looked{group: group, set: vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}}
	l.Place = moments.Place{Vault: v, Version: version, Logs: all.Logs()}

	if place.url != "" {
		return l, nil
	}

	s, err := a.offline()
	if err != nil {
		return l, err
	}

	g, err := s.group(group)
	if err != nil {
		return l, err
	}
	l.g = &g
	l.set, err = s.p.Set(ctx, g.Name, v.Region())

	return l, err
}

func (a *app) proveCmd(place *vaultFlags, group, region *string) *cobra.Command {
	return &cobra.Command{
		Use: "prove CUT", Short: "Prove a cut anew, from the vault alone", Args: ui.OneArg("a cut"),
		Long: `Reads the evidence of a cut, what was observed, and the logs, all from the vault, and computes
anew that the cut is what it claims to be. The program that checks shares no code with the one that found the
cut. A cut that was taken with locks has no evidence in the logs.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.cutProve(cmd.Context(), *place, *group, *region, args[0])
		},
	}
}

func (a *app) cutProve(ctx context.Context, place vaultFlags, group, region, name string) error {
	l, err := a.look(ctx, place, group, region)
	if err != nil {
		return err
	}

	cut, err := l.Cut(ctx, l.group, name)
	if err != nil {
		return err
	}

	report, err := l.Prove(ctx, &cut)
	if err != nil {
		return err
	}

	if a.json {
		if err := a.printJSON(report); err != nil {
			return err
		}
	} else {
		for _, w := range report.Words {
			fmt.Fprintln(a.out, human.Clean(w))
		}
	}

	if report.Accepted {
		if !a.json {
			fmt.Fprintf(a.out, "proven anew from the vault of %s: %s, %s of log read\n", l.Vault.Region(), cutview.Proven(cut), human.Bytes(int64(report.Read)))
		}

		return nil
	}

	return cutview.Refused(cut, l.Vault, report)
}

func (a *app) cutAtCmd(place *vaultFlags, group, region *string) *cobra.Command {
	var name string

	c := &cobra.Command{
		Use: "at TIME", Short: "Find the last provable moment at or before a time; with --name keep it as a cut", Args: ui.OneArg("a time"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.cutAt(cmd.Context(), *place, *group, *region, args[0], name)
		},
	}
	c.Flags().StringVar(&name, "name", "", "keep it under this name, sealed like a cut that was taken then")

	return c
}

func (a *app) cutAt(ctx context.Context, place vaultFlags, group, region, text, name string) error {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fail.New(fail.Invalid, "arguments", "TIME", "write it like 2026-11-23T03:04:05Z", notAnInstant(text))
	}

	if name != "" && !targets.IsName(name) {
		return fail.Newf(fail.Invalid, "flags", "--name", "%q is no name: use letters, digits, '_', '-' and '.'", name)
	}

	l, err := a.look(ctx, place, group, region)
	if err != nil {
		return err
	}

	found, err := l.At(ctx, l.group, l.g, at)
	if err != nil {
		return err
	}

	cut, end := found.Cut, "not kept; keep it with --name"
	if name != "" {
		if cut, err = l.Keep(ctx, l.set, found, name); err != nil {
			return err
		}
		end = "sealed"
	}

	if a.json {
		return a.printJSON(cut)
	}

	fmt.Fprintf(a.out, "%s before the time asked for; %s\n", human.Duration(at.Sub(cut.QuiescedAt)), human.Clean(found.Decided))

	return cutview.Show(a.out, cut, end)
}

// cutWindow prints from when to when moments can be had.
func (a *app) cutWindow(ctx context.Context, place vaultFlags, group, region string, since time.Duration) error {
	l, err := a.look(ctx, place, group, region)
	if err != nil {
		return err
	}

	now := time.Now().UTC()

	w, err := l.Window(ctx, l.group, l.g, now.Add(-since), now)
	if err != nil {
		return err
	}

	if a.json {
		return a.printJSON(answer.CutWindow{Vault: l.Vault.Region(), Window: *w})
	}

	return cutview.Window(a.out, w)
}
