package regional

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/internal/fail"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/internal/vault"
	"drctl/restore/runs"
)

func (f Faces) reviewsCommand() *cobra.Command {
	var group string
	var everything bool
	c := &cobra.Command{Use: "reviews", Short: "List recoveries that went on without the approvals that were wanted", Args: cobra.NoArgs,
		Long: `Lists the recoveries in which somebody has broken the glass, until they are reviewed. It
needs no engine, only a vault. Exit status 4 while any waits for its review.`,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.reviews(cmd.Context(), group, everything) }}
	c.Flags().StringVarP(&group, "group", "g", "", "group (default: the only one)")
	c.Flags().BoolVar(&everything, "all", false, "those that were reviewed too")

	return c
}

func (f Faces) reviewCommand() *cobra.Command {
	var group, note string
	c := &cobra.Command{Use: "review ID", Short: "Record that a recovery without approvals was looked at", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.review(cmd.Context(), group, args[0], note) }}
	c.Flags().StringVarP(&group, "group", "g", "", "group (default: the only one)")
	c.Flags().StringVar(&note, "note", "", "what was found: it is recorded with your name")
	_ = c.MarkFlagRequired("note")

	return c
}

// vaults are those of a group that answer, without an engine.
func (f Faces) vaults(ctx context.Context, name string) (vault.Set, string, error) {
	cfg, err := f.Load()
	if err != nil {
		return vault.Set{}, "", err
	}

	group, err := groupOf(cfg, name)
	if err != nil {
		return vault.Set{}, "", err
	}
	set, err := configured.Answering(ctx, cfg, group)

	return set, group, err
}

func (f Faces) reviews(ctx context.Context, name string, everything bool) error {
	set, group, err := f.vaults(ctx, name)
	if err != nil {
		return err
	}

	all, err := runs.Broken(ctx, set, group)
	if err != nil {
		return err
	}
	out, open := []runs.Glass{}, 0

	for _, g := range all {
		if g.Review == nil {
			open++
		}

		if everything || g.Review == nil {
			out = append(out, g)
		}
	}

	if *f.JSON {
		err = ui.PrintJSON(f.Out, out)
	} else {
		err = f.glasses(out)
	}

	if err == nil && open > 0 {
		err = ui.Exit{Code: 4, Message: fmt.Sprintf("%d wait for a review: drctl recovery review ID --note ...", open)}
	}

	return err
}

func (f Faces) glasses(all []runs.Glass) error {
	var rows [][]string

	for _, g := range all {
		is := "OPEN"
		if g.Review != nil {
			is = g.Review.By + ": " + g.Review.Note
		}
		rows = append(rows, []string{g.ID, string(g.Mode), g.From + " to " + g.To, g.At.UTC().Format(time.RFC3339), g.By + ": " + g.Reason, is})
	}

	if len(rows) == 0 {
		_, err := fmt.Fprintln(f.Out, "nobody has broken the glass, or all of it was reviewed")
		return err
	}

	return progress.Table(f.Out, []string{"ID", "MODE", "", "AT", "BROKEN BY", "REVIEW"}, rows)
}

func (f Faces) review(ctx context.Context, name, id, note string) error {
	if strings.TrimSpace(note) == "" {
		return fail.New(fail.Invalid, "flags", "--note", "say what was found", errors.New("the note is empty"))
	}

	set, group, err := f.vaults(ctx, name)
	if err != nil {
		return err
	}

	all, err := runs.Broken(ctx, set, group)
	if err != nil {
		return err
	}

	for _, g := range all {
		if g.ID != id {
			continue
		}

		if err := runs.SaveReview(ctx, set, group, id, runs.Review{By: f.By(), Note: note, At: time.Now().UTC()}); err != nil {
			return err
		}

		return f.reviewed(g, note)
	}

	return fail.New(fail.NotFound, "recovery: review", id, "see drctl recovery reviews", errors.New("there is no such record"))
}

func (f Faces) reviewed(g runs.Glass, note string) error {
	g.Review = &runs.Review{By: f.By(), Note: note, At: time.Now().UTC()}
	if *f.JSON {
		return ui.PrintJSON(f.Out, g)
	}

	_, err := fmt.Fprintf(f.Out, "%s: reviewed\n", g.ID)

	return err
}
