package fencing

import (
	"context"
	"net"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/tlsconf"
	"drctl/targets"
)

// Open is New with a client as the instance describes it.
func Open(ctx context.Context, in targets.Instance) (*Server, error) {
	const op = "fencing"

	host, _, err := net.SplitHostPort(in.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, in.String(), "write the address as host:port", err)
	}

	for _, command := range []string{"client", "info", "config"} {
		if in.Renamed[command] != "" {
			return nil, fail.Newf(fail.Unsupported, op, in.String(), "the server knows %s by another name", command)
		}
	}

	tc, err := tlsconf.Client(op, in.TLS, host, in.CAFile)
	if err != nil {
		return nil, err
	}

	return New(ctx, in, goredis.NewClient(&goredis.Options{
		Addr: in.Address, Username: in.User, Password: in.Password.Reveal(), Protocol: 2, DisableIdentity: true, MaxRetries: -1,
		DialTimeout: time.Second, ReadTimeout: time.Second, WriteTimeout: time.Second, PoolSize: 2, ContextTimeoutEnabled: true, TLSConfig: tc,
	}))
}
