package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"drctl/internal/ui"
)

func (a *app) faultCmd() *cobra.Command {
	var undo bool
	c := &cobra.Command{
		Use: "fault FAULT WHAT", Short: "Plant a fault that can be taken away again: for game days of drctl", Args: cobra.ExactArgs(2),
		Long: `kill SERVER, stop SERVER (Redis and S3, too), disks SERVER (killed, its disk gone),
region REGION (its database servers with their disks), engine all, key all, vault REGION (away),
corrupt REGION (a byte in the newest chunk of log of its vault).

--undo takes it away; that may be repeated, and done where nothing was planted. A killed primary is not started
while the other region takes writes.`,
		Example: "  drlab fault stop east/carts/0\n  drlab fault stop east/carts/0 --undo",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}

			if err := l.Fault(cmd.Context(), args[0], args[1], undo); err != nil {
				return err
			}

			if a.json {
				return ui.PrintJSON(a.out, map[string]any{"fault": args[0], "what": args[1], "undone": undo})
			}

			word := "planted"
			if undo {
				word = "taken away"
			}
			fmt.Fprintf(a.out, "%s %s: %s\n", args[0], args[1], word)

			return nil
		},
	}
	c.Flags().BoolVar(&undo, "undo", false, "take it away")

	return c
}
