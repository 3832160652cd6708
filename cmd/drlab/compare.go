package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/lab"
	"drctl/internal/lab/shop"
	"drctl/internal/lab/shop/meter"
	"drctl/internal/progress"
	"drctl/internal/ui"
)

func (a *app) compareCmd() *cobra.Command {
	var o shop.TrafficOptions
	var trial shop.Trial
	var parts, command, on, off string
	c := &cobra.Command{
		Use: "compare", Short: "What customers feel with cuts against without, in one run", Args: cobra.NoArgs,
		Long: `Lets customers buy in rounds without cuts and rounds with cuts, one after the
other in one run, and prints the latencies of both and the ratio of their p99.
Switch scheduled cuts off meanwhile: they would be in both.

With --on and --off it starts nothing in a round: the first command lets cuts be taken by
themselves, the second ends that. What customers do meanwhile is of neither side.`,
		Example: `  drlab compare --each 10s --rounds 6 --every 1s --cut 'drctl cut now'
  drlab compare --each 10s --rounds 6 --on 'drctl schedule resume cut/shop' --off 'drctl schedule pause cut/shop'`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}
			if o.Platform, err = primaries(l, lab.East); err != nil {
				return err
			}
			if o.Parts, err = shop.ParseParts(parts); err != nil {
				return err
			}
			if o.Journal == "" {
				o.Journal = l.Journal()
			}
			if (on == "") != (off == "") || on != "" && cmd.Flags().Changed("cut") {
				return fail.Newf(fail.Invalid, "flags", "--on", "give --on and --off, or --cut")
			}
			trial.Cut = func(ctx context.Context) error { return shell(ctx, command) }
			if on != "" {
				trial.Cut, trial.Switch = nil, func(ctx context.Context, yes bool) error {
					return shell(ctx, map[bool]string{true: on, false: off}[yes])
				}
			}
			c, _, err := shop.Compare(cmd.Context(), o, trial)
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			return a.printComparison(c)
		},
	}
	f := c.Flags()
	trafficFlags(f, &o, &parts)
	f.DurationVar(&trial.Each, "each", 10*time.Second, "how long a round is")
	f.IntVar(&trial.Rounds, "rounds", 3, "rounds with cuts, and as many without")
	f.DurationVar(&trial.Every, "every", time.Second, "from one cut to the next")
	f.StringVar(&on, "on", "", "command that lets cuts be taken by themselves")
	f.StringVar(&off, "off", "", "command that ends that")
	f.StringVar(&command, "cut", "drctl cut now", "command that takes a cut")

	return c
}

// shell runs a command, and fails with the last line that it said.
func shell(ctx context.Context, command string) error {
	out, err := exec.CommandContext(ctx, "sh", "-c", command).CombinedOutput()
	if err != nil {
		lines := bytes.Split(bytes.TrimSpace(out), []byte("\n"))
		return fmt.Errorf("%s: %w: %s", command, err, lines[len(lines)-1])
	}

	return nil
}

func (a *app) printComparison(c meter.Comparison) error {
	if a.json {
		return ui.PrintJSON(a.out, c)
	}

	row := func(name string, f meter.Felt) []string {
		return []string{name, human.Count(f.Ops), human.Duration(f.P50), human.Duration(f.P99), human.Duration(f.Max), human.Count(f.Long)}
	}

	err := progress.Table(a.out, []string{"ROUNDS", "OPERATIONS", "P50", "P99", "MAX", strings.ToUpper("over " + human.Duration(meter.Long))},
		[][]string{row("without cuts", c.Without), row("with cuts", c.With)})
	if err != nil {
		return err
	}

	fmt.Fprintf(a.out, "p99 with cuts is %.2f of p99 without; %d commands, %d failed, each took %s, at most %s\n", c.Ratio, c.Tried, c.Failed, human.Duration(c.P50), human.Duration(c.Max))

	if c.Reason != "" {
		fmt.Fprintln(a.out, "the last failure: "+c.Reason)
	}

	return nil
}
