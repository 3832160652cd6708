package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/lab"
	"drctl/internal/progress"
	"drctl/internal/shop"
	"drctl/targets"
)

func (a *app) labCmd() *cobra.Command {
	var dir string
	c := &cobra.Command{Use: "lab", Short: "A two-region platform on this machine, with traffic and faults"}
	c.PersistentFlags().StringVar(&dir, "dir", "lab", "directory of the lab")
	c.AddCommand(a.labUp(&dir), a.labDown(&dir), a.labStatus(&dir), a.labBreak(&dir), a.labTraffic(&dir), a.labCheck(&dir))
	return c
}

func openLab(dir string) (*lab.Lab, error) {
	tools, err := sandboxTools()
	if err != nil {
		return nil, err
	}
	return lab.Open(dir, tools)
}

func (a *app) labUp(dir *string) *cobra.Command {
	var shards, redis int
	var set lab.Settings
	var size string
	c := &cobra.Command{
		Use: "up", Short: "Make the lab, or start what is down of it", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var payload int64
			if size != "" {
				n, err := parseSize(size)
				if err != nil {
					return err
				}
				payload = n
			}
			return a.labUpRun(cmd.Context(), *dir, shards, redis, set, payload)
		},
	}
	f := c.Flags()
	f.IntVar(&shards, "shards", 4, "PostgreSQL shards")
	f.IntVar(&redis, "redis", 2, "Redis masters")
	f.StringVar(&set.Mode, "mode", "gate", "barrier mode in the lab's configuration: gate or share")
	f.StringVar(&set.CutEvery, "cut-every", "5s", "interval of the scheduled cuts in the lab's configuration")
	f.StringVar(&size, "size", "", "filler data over all PostgreSQL shards, for example 1GiB")
	return c
}

func parseSize(s string) (int64, error) {
	for suffix, unit := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			var v int64
			if _, err := fmt.Sscanf(n, "%d", &v); err == nil && fmt.Sprint(v) == n && v >= 0 {
				return v * unit, nil
			}
		}
	}
	return 0, fail.New(fail.Invalid, "flags", "--size", "write it like 500MiB", errors.New(s))
}

func (a *app) labUpRun(ctx context.Context, dir string, shards, redis int, set lab.Settings, payload int64) error {
	tools, err := sandboxTools()
	if err != nil {
		return err
	}
	l, err := lab.Up(ctx, lab.Options{Dir: dir, Shards: shards, Redis: redis, Tools: tools,
		Progress: func(s string) { fmt.Fprintln(a.err, "lab: "+s) }})
	if err != nil {
		return err
	}
	path, err := l.WriteConfig(set)
	if err != nil {
		return err
	}
	p, err := labPlatform(l)
	if err != nil {
		return err
	}
	if err := shop.Setup(ctx, p, shop.SetupOptions{PayloadBytes: payload / int64(len(p.Postgres))}); err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"dir": l.Dir(), "config": path, "servers": l.Servers()})
	}
	fmt.Fprintf(a.out, "lab: %d servers run; configuration: %s\n", len(l.Servers()), path)
	return nil
}

// labPlatform is the shop's view of the lab's primaries.
func labPlatform(l *lab.Lab) (shop.Platform, error) {
	p := shop.Platform{Group: "shop"}
	var err error
	add := func(target string) (out []targets.Instance) {
		for _, id := range l.Shards(target) {
			in, e := l.Instance(lab.East, id)
			err = errors.Join(err, e)
			out = append(out, in)
		}
		return out
	}
	p.Postgres, p.Redis = add("orders"), add("carts")
	if m := add("media"); len(m) > 0 {
		p.Media = m[0]
	}
	return p, err
}

func (a *app) labDown(dir *string) *cobra.Command {
	var destroy bool
	c := &cobra.Command{
		Use: "down", Short: "Stop the lab's servers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLab(*dir)
			if err != nil {
				return err
			}
			if err := l.Down(cmd.Context(), destroy); err != nil {
				return err
			}
			if a.json {
				return a.printJSON(map[string]any{"dir": l.Dir(), "stopped": len(l.Servers()), "destroyed": destroy})
			}
			what := "its data is in " + l.Dir()
			if destroy {
				what = l.Dir() + " is removed"
			}
			fmt.Fprintf(a.out, "lab: %d servers are stopped; %s\n", len(l.Servers()), what)
			return nil
		},
	}
	c.Flags().BoolVar(&destroy, "destroy", false, "remove the directory too")
	return c
}

func (a *app) labStatus(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "List the lab's servers", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := openLab(*dir)
			if err != nil {
				return err
			}
			type server struct {
				lab.Server
				Address string `json:"address"`
				Running bool   `json:"running"`
			}
			var out []server
			var rows [][]string
			for _, s := range l.Servers() {
				state := "down"
				if s.Proc.Alive() {
					state = "running"
				}
				out = append(out, server{s, s.Address(), s.Proc.Alive()})
				rows = append(rows, []string{s.Name, string(s.Kind), string(s.Role), s.Address(), fmt.Sprint(s.Proc.Pid), state})
			}
			if a.json {
				return a.printJSON(out)
			}
			return progress.Table(a.out, []string{"SERVER", "KIND", "ROLE", "ADDRESS", "PID", "STATE"}, rows)
		},
	}
}

func (a *app) labBreak(dir *string) *cobra.Command {
	return &cobra.Command{
		Use: "break FAULT WHAT", Short: "Plant a fault: region east | kill | destroy | stop | cont SERVER", Args: cobra.ExactArgs(2),
		Example: "  drctl lab break region east\n  drctl lab break kill east/orders/0",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := openLab(*dir)
			if err != nil {
				return err
			}
			if err := l.Break(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			at := time.Now().UTC().Format(time.RFC3339Nano) // to the nanosecond: drills count from it
			if a.json {
				return a.printJSON(map[string]any{"fault": args[0], "what": args[1], "at": at})
			}
			fmt.Fprintln(a.out, at)
			return nil
		},
	}
}

func (a *app) labTraffic(dir *string) *cobra.Command {
	o := shop.TrafficOptions{}
	var quiet bool
	c := &cobra.Command{
		Use: "traffic", Short: "Let customers buy until interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := openLab(*dir)
			if err != nil {
				return err
			}
			if o.Platform, err = labPlatform(l); err != nil {
				return err
			}
			if o.Journal == "" {
				o.Journal = filepath.Join(l.Dir(), "journal.jsonl")
			}
			if !quiet && !a.json {
				o.Progress = func(s shop.Second) {
					fmt.Fprintf(a.err, "%s %4d ops, %d failed, %d unknown; p50 %s, p99 %s, max %s\n", s.At.Local().Format(time.TimeOnly), s.Ops, s.Failed, s.Unknown,
						human.Duration(s.P50), human.Duration(s.P99), human.Duration(s.Max))
				}
			}
			sum, err := shop.Run(cmd.Context(), o)
			if err != nil && !errors.Is(err, context.Canceled) {
				return err
			}
			if a.json {
				return a.printJSON(sum)
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
	f.Float64Var(&o.Rate, "rate", 100, "operations per second")
	f.IntVar(&o.Clients, "clients", 8, "clients")
	f.StringVar(&o.Style, "style", "mix", "2pc, plain or mix: how cross-shard transfers commit")
	f.BoolVar(&o.Gate, "gate", true, "hold the group's gate around cross-shard transfers")
	f.StringVar(&o.Journal, "journal", "", "journal file (default: journal.jsonl in the lab)")
	f.DurationVar(&o.Duration, "duration", 0, "end after this long; 0: when interrupted")
	f.Int64Var(&o.Seed, "seed", 0, "seed of the clients' choices; 0: by chance")
	f.BoolVar(&quiet, "quiet", false, "no line per second")
	return c
}
