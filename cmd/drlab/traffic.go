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
	"drctl/internal/lab"
	"drctl/internal/lab/shop"
	"drctl/internal/progress"
	"drctl/internal/ui"
)

func (a *app) trafficCmd() *cobra.Command {
	o := shop.TrafficOptions{}
	var quiet bool
	var parts, region string
	c := &cobra.Command{
		Use: "traffic", Short: "Let customers buy until interrupted", Args: cobra.NoArgs,
		Long: `Lets customers buy, and says at the end what they felt: of all operations, and of
every store the longest time in which none of their writes was acknowledged.

With --through-proxies they connect to the lab's PgBouncers and HAProxies. Then the parts
are those that work through a pooler in transaction mode; a customer who holds a transaction
open on one shard does not wait long for another, but begins again; and a change of a cart
whose connection was lost is made again. No customer sees that, and it is counted.`,
		Example: "  drlab traffic --through-proxies --gate=false --parts pooled --pulse 10ms --outages 50ms --json",
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}
			if o.Proxied {
				o.Platform, err = shopOf(l, l.Through)
			} else {
				o.Platform, err = primaries(l, region)
			}
			if err != nil {
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
			return a.printTraffic(sum)
		},
	}
	f := c.Flags()
	trafficFlags(f, &o, &parts)
	f.DurationVar(&o.Duration, "duration", 0, "end after this long; 0: when interrupted")
	f.BoolVar(&quiet, "quiet", false, "no line per second")
	f.BoolVar(&o.Proxied, "through-proxies", false, "connect to the lab's proxies and not to its servers")
	f.StringVar(&region, "region", lab.East, "region of the servers to connect to without proxies")
	f.DurationVar(&o.Patience, "patience", 0, "how long a customer with a transaction open on one shard waits for another, then it begins again; 0: 50ms through proxies, else for ever")
	f.DurationVar(&o.Pulse, "pulse", 0, "a customer more for every store, who writes there alone so often, so that outages are seen to that; 0: none")
	f.DurationVar(&o.Outages, "outages", 0, "list every write outage of a store that is longer; 0: the longest of each")
	c.MarkFlagsMutuallyExclusive("through-proxies", "region")

	return c
}

// printTraffic prints what a run did and what customers felt.
func (a *app) printTraffic(sum shop.Summary) error {
	if a.json {
		return ui.PrintJSON(a.out, sum)
	}

	fmt.Fprintf(a.out, "%d operations acknowledged, %d failed, %d unknown; p50 %s, p99 %s, max %s\n", sum.Acked, sum.Failed, sum.Unknown,
		human.Duration(sum.P50), human.Duration(sum.P99), human.Duration(sum.Max))

	for _, why := range slices.Sorted(maps.Keys(sum.Reasons)) {
		fmt.Fprintf(a.out, "%6d %s\n", sum.Reasons[why], why)
	}

	fmt.Fprintf(a.out, "%d client errors; %d times something was done again unseen\n", sum.Errors, sum.Again)

	var rows [][]string
	for _, s := range sum.Stores {
		rows = append(rows, []string{s.Store, human.Count(s.Acked), human.Count(s.Errors), human.Duration(s.P50), human.Duration(s.P99), human.Duration(s.Max),
			human.Duration(s.Longest.Length), clock(s.Longest.Begin)})
	}

	if err := progress.Table(a.out, []string{"STORE", "WRITES", "ERRORS", "P50", "P99", "MAX", "WRITE OUTAGE", "FROM"}, rows); err != nil {
		return err
	}

	for _, s := range sum.Stores {
		for _, o := range s.Outages {
			fmt.Fprintf(a.out, "OUTAGE %s: %s, from %s to %s\n", s.Store, human.Duration(o.Length), clock(o.Begin), clock(o.End))
		}
	}

	return nil
}

func clock(t time.Time) string { return t.UTC().Format("15:04:05.000000Z") }

// trafficFlags are those of every command that lets customers buy.
func trafficFlags(f *pflag.FlagSet, o *shop.TrafficOptions, parts *string) {
	f.Float64Var(&o.Rate, "rate", 100, "operations per second")
	f.IntVar(&o.Clients, "clients", 8, "clients")
	f.StringVar(&o.Style, "style", "mix", "2pc, plain or mix: how cross-shard transfers commit")
	f.BoolVar(&o.Gate, "gate", true, "hold the group's gate around cross-shard transfers")
	f.BoolVar(&o.Tag, "tag", true, "tag global transactions in the shards' logs")
	f.StringVar(parts, "parts", "classic", "classic, realistic, pooled, or some of: "+fmt.Sprint(shop.Realistic))
	f.DurationVar(&o.Saga, "saga", time.Second, "how long a saga takes")
	f.DurationVar(&o.Death, "death", 15*time.Second, "how often a client dies between two commits")
	f.StringVar(&o.Journal, "journal", "", "journal file (default: journal.jsonl in the lab)")
	f.Int64Var(&o.Seed, "seed", 0, "seed of the clients' choices; 0: by chance")
}
