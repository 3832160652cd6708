package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/lab"
	"drctl/internal/ui"
)

// flagOf is what else a fault needs, by its name.
var flagOf = map[string]string{"cut": "way", "slow": "by", "lossy": "rate", "clock": "by"}

// useless refuses flags for which a fault has no use.
func useless(fault string, given func(string) bool) error {
	for _, flag := range []string{"way", "by", "rate"} {
		if given(flag) && flagOf[fault] != flag {
			return fail.Newf(fail.Invalid, "flags", "--"+flag, "the fault %s has no use for it", fault)
		}
	}

	return nil
}

func (a *app) faultCmd() *cobra.Command {
	var undo bool
	var f lab.Fault
	c := &cobra.Command{
		Use: "fault FAULT WHAT", Short: "Plant a fault that can be taken away again: for game days of drctl", Args: cobra.ExactArgs(2),
		Long: `kill SERVER, stop SERVER (Redis and S3, too), disks SERVER (killed, its disk gone),
region REGION (its database servers with their disks), engine all, key all, vault REGION (away),
corrupt REGION (a byte in the newest chunk of log of its vault).

Of a lab with clocks: clock SERVER --by 90s (PostgreSQL, Redis: its clock steps, and is off by so much from then on; --undo
sets it right, with another step).

Of a lab with lines: cut LINK (both ways, or --way in or out: into what LINK names, or out of it), slow LINK
--by 80ms (a round trip takes so much longer), lossy LINK --rate 0.05 (that share of pieces is lost: TCP sends them again, so a
connection stalls for 200 ms, then 400 and 800, and is reset when the same piece was lost three times). A LINK is a
place (east, west, outside: all lines over its border), a server (east/orders/0: from everywhere else), PLACE/SERVER (as that
place sees it: west/east/orders/0, west/engine) or PLACE/PLACE (what the one sees of the other). Faults add up. What was sent over a
line that was cut comes when it is mended. Each is taken away by its name and its LINK; a second of one name on one LINK replaces the first.

--undo takes it away; that may be repeated, and done where nothing was planted. A killed primary is not started
while the other region takes writes.`,
		Example: "  drlab fault stop east/carts/0\n  drlab fault stop east/carts/0 --undo\n  drlab fault cut west\n  drlab fault cut west/east --way out",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.Do, f.What = args[0], args[1]
			if err := useless(args[0], cmd.Flags().Changed); err != nil {
				return err
			}

			l, err := a.open()
			if err != nil {
				return err
			}

			if err := l.Fault(cmd.Context(), f, undo); err != nil {
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
	fl := c.Flags()
	fl.BoolVar(&undo, "undo", false, "take it away")
	fl.StringVar(&f.Way, "way", "both", "which ways a link is cut: in, out, both")
	fl.DurationVar(&f.By, "by", 0, "how much longer a round trip over a slow link takes; how much a clock is off")
	fl.Float64Var(&f.Rate, "rate", 0, "share that a lossy link loses, such as 0.05")

	return c
}
