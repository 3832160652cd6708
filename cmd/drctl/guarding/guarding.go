package guarding

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"drctl/cmd/drctl/configured"
	"drctl/cmd/drctl/serve"
	"drctl/config"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/guard"
	"drctl/internal/servers"
	"drctl/internal/vault"
	"drctl/targets"
	pgfencing "drctl/targets/postgres/fencing"
	redisfencing "drctl/targets/redis/fencing"
)

type flags struct {
	region, group, witness, endpoint string
	lease                            time.Duration
	shards                           []string
	stand                            bool
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
guard refuses. A witness is a directory or a bucket in a third place.

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
	c.Flags().StringVar(&f.group, "group", "", "group of the servers")
	c.Flags().StringSliceVar(&f.shards, "shard", nil, "shards whose servers are on this host (default: all of the group)")
	c.Flags().StringVar(&f.witness, "witness", "", "where the witness keeps its records (file:///directory or s3://bucket/prefix)")
	c.Flags().StringVar(&f.endpoint, "witness-endpoint", "", "URL of the witness's S3 server")
	c.Flags().DurationVar(&f.lease, "lease", 15*time.Second, "of the group's first epoch")
	c.Flags().BoolVar(&f.stand, "stand", false, "be the watchman")
	_ = c.Flags().MarkHidden("stand")

	return c
}

func (f flags) run(ctx context.Context, cfg *config.Config, log *slog.Logger) error {
	if !slices.Contains(cfg.RegionNames(), f.region) {
		return fail.Newf(fail.Invalid, "guard", f.region, "--region names no region of the configuration")
	}

	p := configured.New(cfg, servers.Binaries{}, log)

	g, err := p.Group(f.group)
	if err != nil {
		return err
	}

	var beside []guard.Server
	for _, s := range g.Shards {
		if len(f.shards) > 0 && !slices.Contains(f.shards, s.Shard.String()) || !slices.Contains(p.Regions(s.Shard), f.region) {
			continue
		}

		x, err := server(ctx, p, s.Shard, f.region)
		if err != nil {
			return err
		}

		if x != nil {
			beside = append(beside, x)
		}
	}

	l, err := f.log(ctx, p)
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

	return (&guard.Guard{Log: l, Region: f.region, Name: serve.Hostname() + "." + f.region, Servers: beside, Lease: f.lease, Watchman: w, Out: log}).Run(ctx)
}

// server is nil for what has no server on a host.
func server(ctx context.Context, p *configured.Platform, shard targets.ShardID, region string) (guard.Server, error) {
	in, err := p.Instance(ctx, shard, region)
	if err != nil {
		return nil, err
	}

	switch in.Kind {
	case targets.Postgres:
		return pgfencing.Open(in)
	case targets.Redis:
		return redisfencing.Open(ctx, in)
	default:
		return nil, nil
	}
}

// log opens the group's sequence in all vaults and the witness.
func (f flags) log(ctx context.Context, p *configured.Platform) (*epoch.Log, error) {
	var voters []epoch.Voter
	var seal epoch.Codec
	var last error

	for _, r := range p.Config.RegionNames() {
		place, err := p.VaultPlace(ctx, r)
		if err != nil {
			return nil, err
		}

		s, err := vault.OpenStore(ctx, place.Location)
		if err != nil {
			return nil, err
		}
		voters = append(voters, epoch.Voter{Name: r, Store: s})

		if seal != nil {
			continue // one vault that answers is enough to know the set
		}

		if v, err := p.Vault(ctx, r); err != nil {
			last = err
		} else if seal, err = epoch.NewSeal(v.Key(), v.SetID()); err != nil {
			return nil, err
		}
	}

	if f.witness != "" {
		s, err := vault.OpenStore(ctx, vault.Location{URL: f.witness, Endpoint: f.endpoint})
		if err != nil {
			return nil, err
		}
		voters = append(voters, epoch.Voter{Name: "witness", Store: s})
	}

	if len(voters) < 3 {
		return nil, fail.Newf(fail.Invalid, "guard", f.group, "%d voters: give it a witness (--witness), or the loss of one vault would stop production", len(voters))
	}

	if seal == nil {
		return nil, last
	}

	return epoch.Open(epoch.Config{Group: f.group, Voters: voters, Codec: seal, By: serve.Hostname()})
}
