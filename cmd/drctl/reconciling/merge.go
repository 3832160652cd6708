package reconciling

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/answer"
	"drctl/cmd/drctl/configured"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/ui"
	"drctl/restore/parted"
)

// Merge is "drctl vault merge".
func (f Faces) Merge() *cobra.Command {
	var between []string
	c := &cobra.Command{Use: "merge", Short: "Give each of two vaults what only the other has", Args: cobra.NoArgs,
		Long: `Gives each of two regions' vaults what only the other has: bases, log, objects, cuts, plans and
records. Vaults that went on separately, while one of them was away, are alike then. It
is a union in both directions: nothing is overwritten or deleted, and every object is proven before it
is stored. It may be repeated, and goes on where it was broken off. It needs no engine. A
failback does it by itself. What is damaged in one vault stays there. Of a shard that was promoted
twice from one log nothing is copied. Retention must not run on either vault meanwhile.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.merge(cmd.Context(), between) }}
	c.Flags().StringSliceVar(&between, "between", nil, "the two regions (default: the only two)")

	return c
}

func (f Faces) merge(ctx context.Context, between []string) error {
	cfg, err := f.Load()
	if err != nil {
		return err
	}

	regions := cfg.RegionNames()
	if len(between) == 0 && len(regions) == 2 {
		between = regions
	}

	if len(between) != 2 || between[0] == between[1] || !slices.Contains(regions, between[0]) || !slices.Contains(regions, between[1]) {
		return fail.New(fail.Invalid, "flags", "--between", "name two of: "+strings.Join(regions, ", "), errors.New(strings.Join(between, ", ")))
	}

	tools, err := configured.Tools(cfg)
	if err != nil {
		return err
	}
	told := time.Now()

	said, err := parted.Merge(ctx, configured.New(cfg, tools, slog.New(slog.DiscardHandler)).Vault, between[0], between[1], func(to string, done, total int64) {
		if time.Since(told) > every {
			told = time.Now()

			f.Say(slog.LevelInfo, "to the vault of %s: %s of the %s found missing so far", to, human.Bytes(done), human.Bytes(total))
		}
	})
	if said == "" { // nothing was done
		return err
	}

	if *f.JSON {
		return errors.Join(err, ui.PrintJSON(f.Out, answer.Merged{Between: between, Said: said}))
	}

	_, perr := fmt.Fprintln(f.Out, said)

	return errors.Join(err, perr)
}
