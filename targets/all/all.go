// Package all is the explicit registry of the drivers: the only place that
// imports them besides tests. Nothing registers itself.
package all

import (
	"log/slog"

	"drctl/internal/proof/shardlog"
	"drctl/internal/servers"
	"drctl/targets"
	"drctl/targets/postgres"
	"drctl/targets/postgres/stretch"
	"drctl/targets/redis"
	"drctl/targets/s3"
)

// Options are what the drivers share.
type Options struct {
	Tools servers.Binaries
	Log   *slog.Logger
}

// Logs are what reads the logs of stores for proofs, by kind.
func Logs() map[targets.Kind]shardlog.Opener {
	return map[targets.Kind]shardlog.Opener{targets.Postgres: stretch.Opener{}}
}

// Drivers returns one driver for each kind of store. Sandbox servers are
// detached: a sandbox that is kept outlives the worker that made it, and the
// sandbox's own record ends them.
func Drivers(o Options) []targets.Driver {
	return []targets.Driver{
		postgres.New(postgres.Options{Tools: o.Tools, Log: o.Log, Detached: true}),
		redis.New(redis.Options{Tools: o.Tools, Log: o.Log, Detached: true}),
		s3.New(s3.Options{Tools: o.Tools, Log: o.Log, Detached: true}),
	}
}
