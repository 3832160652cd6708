package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"drctl/internal/human"
	"drctl/internal/lab/shop"
	"drctl/internal/ui"
)

func (a *app) trafficCmd() *cobra.Command {
	o := shop.TrafficOptions{}
	var quiet bool
	var parts string
	c := &cobra.Command{
		Use: "traffic", Short: "Let customers buy until interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}
			if o.Platform, err = primaries(l); err != nil {
				return err
			}
			if o.Journal == "" {
				o.Journal = l.Journal()
			}
			if !quiet && !a.json {
				o.Progress = func(s shop.Second) {
					fmt.Fprintf(a.err, "%s %4d ops, %d failed, %d unknown; p50 %s, p99 %s, max %s\n", s.At.Local().Format(time.TimeOnly), s.Ops, s.Failed, s.Unknown,
						human.Duration(s.P50), human.Duration(s.P99), human.Duration(s.Max))
				}
			}
			if o.Parts, err = shop.ParseParts(parts); err != nil {
				return err
			}
			sum, err := shop.Run(cmd.Context(), o)
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			if a.json {
				return ui.PrintJSON(a.out, sum)
			}
			fmt.Fprintf(a.out, "%d operations acknowledged, %d failed, %d unknown; p50 %s, p99 %s, max %s\n", sum.Acked, sum.Failed, sum.Unknown,
				human.Duration(sum.P50), human.Duration(sum.P99), human.Duration(sum.Max))
			for _, why := range slices.Sorted(maps.Keys(sum.Reasons)) {
				fmt.Fprintf(a.out, "%6d %s\n", sum.Reasons[why], why)
			}
			return nil
		},
	}
	f := c.Flags()
	trafficFlags(f, &o, &parts)
	f.DurationVar(&o.Duration, "duration", 0, "end after this long; 0: when interrupted")
	f.BoolVar(&quiet, "quiet", false, "no line per second")

	return c
}

// trafficFlags are those of every command that lets customers buy.
func trafficFlags(f *pflag.FlagSet, o *shop.TrafficOptions, parts *string) {
	f.Float64Var(&o.Rate, "rate", 100, "operations per second")
	f.IntVar(&o.Clients, "clients", 8, "clients")
	f.StringVar(&o.Style, "style", "mix", "2pc, plain or mix: how cross-shard transfers commit")
	f.BoolVar(&o.Gate, "gate", true, "hold the group's gate around cross-shard transfers")
	f.BoolVar(&o.Tag, "tag", true, "tag global transactions in the shards' logs")
	f.StringVar(parts, "parts", "classic", "classic, realistic, or some of: "+fmt.Sprint(shop.Realistic))
	f.DurationVar(&o.Saga, "saga", time.Second, "how long a saga takes")
	f.DurationVar(&o.Death, "death", 15*time.Second, "how often a client dies between two commits")
	f.StringVar(&o.Journal, "journal", "", "journal file (default: journal.jsonl in the lab)")
	f.Int64Var(&o.Seed, "seed", 0, "seed of the clients' choices; 0: by chance")
}
