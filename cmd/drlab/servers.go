package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"drctl/internal/fail"
	"drctl/internal/lab"
	"drctl/internal/lab/shop"
	"drctl/internal/progress"
	"drctl/internal/ui"
	"drctl/targets"
)

func (a *app) upCmd() *cobra.Command {
	var o lab.Options
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
			return a.up(cmd.Context(), o, set, payload)
		},
	}
	f := c.Flags()
	f.IntVar(&o.Shards, "shards", 4, "PostgreSQL shards")
	f.IntVar(&o.Redis, "redis", 2, "Redis masters")
	f.BoolVar(&o.Proxies, "proxies", false, "a PgBouncer before each PostgreSQL shard and a HAProxy before each Redis master")
	f.BoolVar(&o.Lines, "lines", false, "a line between every region, and outside, and every server elsewhere, for drlab fault; a lab gets them when it is made")
	f.BoolVar(&o.Clocks, "clocks", false, "a clock of its own for every PostgreSQL and Redis server, for drlab fault (needs Debian's libfaketime); a lab gets them when it is made")
	f.StringVar(&set.Mode, "mode", "gate", "mode of cuts in the lab's configuration: auto, gate, locks, tagged, two-phase, joined by +")
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

func (a *app) up(ctx context.Context, o lab.Options, set lab.Settings, payload int64) error {
	tools, err := findTools()
	if err != nil {
		return err
	}

	// The program that runs now carries the lines.
	if o.Program, err = os.Executable(); err != nil {
		return fail.New(fail.Internal, "drlab up", "its own program", "", err)
	}

	o.Dir, o.Tools, o.Progress = a.dir, tools, func(s string) { fmt.Fprintln(a.err, "lab: "+s) }

	l, err := lab.Up(ctx, o)
	if err != nil {
		return err
	}

	path, err := l.WriteConfig(set)
	if err != nil {
		return err
	}

	region := lab.East
	if err := l.Leads(ctx, region); fail.Is(err, fail.Conflict) {
		region = lab.West
	}

	p, err := primaries(l, region)
	if err != nil {
		return err
	}

	if err := shop.Setup(ctx, p, shop.SetupOptions{PayloadBytes: payload / int64(len(p.Postgres)), Realistic: true}); err != nil {
		return err
	}

	if a.json {
		return ui.PrintJSON(a.out, map[string]any{"dir": l.Dir(), "config": path, "servers": l.Servers()})
	}

	fmt.Fprintf(a.out, "lab: %d servers run; configuration: %s\n", len(l.Servers()), path)

	if l.Lined() {
		fmt.Fprintf(a.out, "lab: that is the view from outside; the regions have their own: %s.yaml, %s.yaml\n", filepath.Join(l.Dir(), lab.East), filepath.Join(l.Dir(), lab.West))
	}

	return nil
}

// group is the consistency group that the lab's configuration names.
const group = "shop"

// primaries is the shop on the lab's own servers of a region.
func primaries(l *lab.Lab, region string) (shop.Platform, error) {
	return shopOf(l, func(id targets.ShardID) (targets.Instance, error) {
		if id.Target == "media" {
			return l.Instance(lab.East, id) // the bucket stays
		}

		return l.Instance(region, id)
	})
}

// shopOf is the shop on the instances that at finds for the lab's shards.
func shopOf(l *lab.Lab, at func(targets.ShardID) (targets.Instance, error)) (shop.Platform, error) {
	p := shop.Platform{Group: group}
	var err error
	find := func(target string) (out []targets.Instance) {
		for _, id := range l.Shards(target) {
			in, e := at(id)
			err = errors.Join(err, e)
			out = append(out, in)
		}

		return out
	}

	p.Postgres, p.Redis = find("orders"), find("carts")
	if m := find("media"); len(m) > 0 {
		p.Media = m[0]
	}

	return p, err
}

func (a *app) keepCmd() *cobra.Command {
	return &cobra.Command{
		Use: "keep", Short: "Start proxies and lines again that die, as a service manager would, until it is interrupted", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tools, err := findTools()
			if err != nil {
				return err
			}

			return lab.Keep(cmd.Context(), a.dir, tools, func(s string) {
				fmt.Fprintf(a.out, "%s lab: %s\n", time.Now().UTC().Format(time.RFC3339), s)
			})
		},
	}
}

func (a *app) downCmd() *cobra.Command {
	var destroy bool
	c := &cobra.Command{
		Use: "down", Short: "Stop the lab's servers", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}
			if err := l.Down(cmd.Context(), destroy); err != nil {
				return err
			}
			if a.json {
				return ui.PrintJSON(a.out, map[string]any{"dir": l.Dir(), "stopped": len(l.Servers()), "destroyed": destroy})
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

func (a *app) statusCmd() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "List the lab's servers", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			l, err := a.open()
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
				address := s.Address()
				if s.Port == 0 {
					address = fmt.Sprintf("%d lines", len(l.Lines()))
				}
				rows = append(rows, []string{s.Name, string(s.Kind), string(s.Role), address, fmt.Sprint(s.Proc.Pid), state})
			}
			if a.json {
				return ui.PrintJSON(a.out, out)
			}
			if err := progress.Table(a.out, []string{"SERVER", "KIND", "ROLE", "ADDRESS", "PID", "STATE"}, rows); err != nil {
				return err
			}
			return a.printLines(l)
		},
	}
}

func (a *app) breakCmd() *cobra.Command {
	return &cobra.Command{
		Use: "break FAULT WHAT", Short: "Plant a fault: region east | kill | destroy | stop | cont SERVER", Args: cobra.ExactArgs(2),
		Example: "  drlab break region east\n  drlab break kill east/orders/0",
		RunE: func(cmd *cobra.Command, args []string) error {
			l, err := a.open()
			if err != nil {
				return err
			}
			if err := l.Break(cmd.Context(), args[0], args[1]); err != nil {
				return err
			}
			at := time.Now().UTC().Format(time.RFC3339Nano) // to the nanosecond: drills count from it
			if a.json {
				return ui.PrintJSON(a.out, map[string]any{"fault": args[0], "what": args[1], "at": at})
			}
			fmt.Fprintln(a.out, at)
			return nil
		},
	}
}
