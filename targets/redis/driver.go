package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/internal/tlsconf"
	"drctl/targets"
	"drctl/targets/redis/reply"
)

const (
	dialTimeout    = 5 * time.Second
	commandTimeout = 10 * time.Second
	minVersion     = 7 // multi-part AOF, effects replication of scripts
)

// Options are what the driver needs.
type Options struct {
	// Tools finds redis-server for restores. Without it everything else works.
	Tools servers.Binaries
	Log   *slog.Logger
	// Detached lets the servers of sandboxes outlive this process.
	Detached bool
}

// Driver teaches drctl Redis. It holds no connection.
type Driver struct {
	tools servers.Binaries
	log   *slog.Logger
	// detached lets the servers of sandboxes outlive this process.
	detached bool
	extra    map[string]string // settings that tests add to a restored server
}

var (
	_ targets.Driver   = (*Driver)(nil)
	_ targets.Quiescer = (*Driver)(nil)
	_ targets.Follower = (*Driver)(nil)
	_ targets.Adviser  = (*Driver)(nil)
)

// New makes the driver.
func New(o Options) *Driver {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}

	return &Driver{tools: o.Tools, log: o.Log, detached: o.Detached}
}

// Kind is targets.Redis.
func (d *Driver) Kind() targets.Kind { return targets.Redis }

// tlsConfig is nil for a plain connection.
func tlsConfig(in targets.Instance) (*tls.Config, error) {
	const op = "redis: tls"

	if in.TLS == "" || in.TLS == "disable" {
		return nil, nil
	}

	host, _, err := net.SplitHostPort(in.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, in.String(), "write the address as host:port", err)
	}

	return tlsconf.Client(op, in.TLS, host, in.CAFile)
}

// dial opens a plain or TLS connection.
func dial(ctx context.Context, in targets.Instance) (net.Conn, error) {
	tc, err := tlsConfig(in)
	if err != nil {
		return nil, err
	}

	nd := net.Dialer{Timeout: dialTimeout, KeepAlive: 15 * time.Second}
	if tc == nil {
		return nd.DialContext(ctx, "tcp", in.Address)
	}
	td := tls.Dialer{NetDialer: &nd, Config: tc}

	return td.DialContext(ctx, "tcp", in.Address)
}

// client makes a client of one connection. Nothing is retried: every call's
// outcome is known. The caller closes it.
func client(in targets.Instance, db int) (*goredis.Client, error) {
	tc, err := tlsConfig(in)
	if err != nil {
		return nil, err
	}

	return goredis.NewClient(&goredis.Options{
		Addr: in.Address, Username: in.User, Password: in.Password.Reveal(), DB: db,
		Protocol: 2, DisableIdentity: true, MaxRetries: -1, PoolSize: 1,
		DialTimeout: dialTimeout, ReadTimeout: commandTimeout, WriteTimeout: commandTimeout,
		ContextTimeoutEnabled: true, TLSConfig: tc,
	}), nil
}

// wrap turns an error of a server or of the network into a *fail.Error that
// names the instance.
func wrap(op string, in targets.Instance, err error) error {
	if err == nil {
		return nil
	}

	var fe *fail.Error
	if errors.As(err, &fe) || errors.Is(err, context.Canceled) {
		return err
	}

	if errors.Is(err, context.DeadlineExceeded) {
		hint := "the server did not answer in time; look at its load (SLOWLOG) and at the network"
		if in.TLS != "" && in.TLS != "disable" {
			hint += "; one without TLS does not answer either: switch it on there, or set tls: disable"
		}

		return fail.New(fail.CodeOf(err), op, in.String(), hint, err)
	}
	code, hint := reply.Meaning(err)

	return fail.New(code, op, in.String(), hint, err)
}

// info reads sections of INFO as one map.
func info(ctx context.Context, c goredis.Cmdable, sections ...string) (map[string]string, error) {
	m := map[string]string{}
	for _, s := range sections {
		text, err := c.Info(ctx, s).Result()
		if err != nil {
			return nil, err
		}

		for line := range strings.Lines(text) {
			if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok && !strings.HasPrefix(k, "#") {
				m[k] = v
			}
		}
	}

	return m, nil
}

func num(m map[string]string, key string) int64 {
	n, _ := strconv.ParseInt(m[key], 10, 64)
	return n
}

// serverPosition is where an instance's log stands, by INFO replication.
func serverPosition(m map[string]string) targets.Position {
	off, _ := strconv.ParseUint(m["master_repl_offset"], 10, 64)
	return targets.Position{Kind: targets.Redis, Timeline: m["master_replid"], Offset: off}
}

// checkVersion refuses servers whose log this driver cannot use.
func checkVersion(op string, in targets.Instance, m map[string]string) error {
	v := m["redis_version"]

	major, _, _ := strings.Cut(v, ".")
	if n, err := strconv.Atoi(major); err != nil || n < minVersion {
		return fail.New(fail.Unsupported, op, in.String(), "upgrade to Redis 7 or later", errors.New("version "+strconv.Quote(v)+" has no multi-part AOF"))
	}

	if m["cluster_enabled"] == "1" {
		return fail.New(fail.Unsupported, op, in.String(), "use masters without cluster mode, one shard each", errors.New("a Redis Cluster is not supported"))
	}

	return nil
}
