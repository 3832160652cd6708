package guarding

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"os/exec"
	"slices"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/serve"
	"drctl/config"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/guard"
	"drctl/internal/servers"
	"drctl/targets"
	pgfencing "drctl/targets/postgres/fencing"
	redisfencing "drctl/targets/redis/fencing"
)

type flags struct {
	region, group, host string
	shards              []string
	stand               bool
}

// Command is drctl guard, with what reads the configuration and makes the log.
func Command(load func() (*config.Config, error), logger func() (*slog.Logger, error)) *cobra.Command {
	var f flags
	c := &cobra.Command{
		Use: "guard", Short: "Let this host's servers write only while their region may", Args: cobra.NoArgs,
		Long: `Stands beside the PostgreSQL and Redis servers of a region on this host. It
renews a lease with a majority of all vaults and a witness, every third of the
lease. When it cannot, or another region has taken over, it makes its servers
read-only, ends their sessions and stops them before the lease ends. A server that takes writes
while another region may is stopped too: start the guard before the servers.

With fewer than three voters every vault that is away would stop production: the
guard refuses. The configuration names the witness, a directory or a bucket in a third
place, and the lease (guard.lease).

A second process kills the servers when the guard is killed or hangs. Stop the
guard with SIGTERM: it has itself taken off the list, and leaves the servers running.`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.stand {
				return guard.Stand(os.Stdin, epoch.Boot, guard.Kill)
			}

			cfg, err := load()
			if err != nil {
				return err
			}

			log, err := logger()
			if err != nil {
				return err
			}

			return f.run(cmd.Context(), cfg, log)
		},
	}
	c.Flags().StringVar(&f.region, "region", "", "region of the servers")
	c.Flags().StringVar(&f.group, "group", "", "group of the servers (default: the only one)")
	c.Flags().StringVar(&f.host, "host", "", "name of this host in the configuration: its servers (default: all of the region, or those of --shard)")
	c.Flags().StringSliceVar(&f.shards, "shard", nil, "shards whose servers are on this host (default: all of the group)")
	c.Flags().BoolVar(&f.stand, "stand", false, "be the watchman")
	_ = c.Flags().MarkHidden("stand")

	return c
}

func (f flags) run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if !slices.Contains(cfg.RegionNames(), f.region) {
		return fail.Newf(fail.Invalid, "guard", f.region, "--region names no region of the configuration")
	}

	p := configured.New(cfg, servers.Binaries{}, log)

	if names := cfg.GroupNames(); f.group == "" && len(names) == 1 {
		f.group = names[0]
	}

	g, err := p.Group(f.group)
	if err != nil {
		return err
	}

	var beside []guard.Server
	for _, s := range g.Shards {
		if len(f.shards) > 0 && !slices.Contains(f.shards, s.Shard.String()) || !slices.Contains(p.Regions(s.Shard), f.region) {
			continue
		}

		if host, _ := cfg.Host(s.Shard, f.region); f.host != "" && host != f.host {
			continue
		}

		x, err := server(ctx, p, s.Shard, f.region, log)
		if err != nil {
			return err
		}

		if x != nil {
			beside = append(beside, x)
		}
	}

	l, err := p.Epochs(ctx, g.Name)
	if err != nil {
		return err
	}
	defer l.Close()

	self, err := os.Executable()
	if err != nil {
		return fail.New(fail.Internal, "guard", "drctl", "", err)
	}
	watchman := exec.Command(self, "guard", "--stand")
	watchman.Env, watchman.Dir = []string{}, "/"

	w, err := guard.StartWatchman(watchman)
	if err != nil {
		return err
	}

	return (&guard.Guard{Log: l, Region: f.region, Name: cmp.Or(f.host, serve.Hostname()) + "." + f.region, Servers: beside, Lease: p.Lease(), Watchman: w, Out: log}).Run(ctx)
}

// server is nil for what has no server on a host.
func server(ctx context.Context, p *configured.Platform, shard targets.ShardID, region string, log *slog.Logger) (guard.Server, error) {
	in, err := p.Instance(ctx, shard, region)
	if err != nil {
		return nil, err
	}

	switch in.Kind {
	case targets.Postgres:
		return pgfencing.Open(in)
	case targets.Redis:
		l := &late{name: shard.String() + "@" + region, log: log, open: func(ctx context.Context) (guard.Server, error) { return redisfencing.Open(ctx, in) }}
		if _, err := l.known(ctx); err != nil && !fail.Is(err, fail.Unavailable) {
			return nil, err
		}

		return l, nil
	default:
		return nil, nil
	}
}
