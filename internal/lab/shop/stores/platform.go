package stores

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/tlsconf"
	"drctl/targets"
)

// Platform is a plain list of the instances that the shop runs on.
type Platform struct {
	Postgres []targets.Instance // one per shard, in shard order
	Redis    []targets.Instance // one per master, in shard order; may be empty
	Media    targets.Instance   // the bucket of product images; zero when there is none
	Group    string             // names the gate's lock
	Gate     int                // index in Postgres of the shard that holds the gate
}

// HasMedia says whether there is a bucket.
func (p Platform) HasMedia() bool { return p.Media.Address != "" }

// Validate refuses, as invalid, a platform that nothing can run on.
func (p Platform) Validate() error {
	if len(p.Postgres) == 0 {
		return fail.Newf(fail.Invalid, "shop", p.Group, "the platform has no PostgreSQL shard")
	}

	if p.Gate < 0 || p.Gate >= len(p.Postgres) {
		return fail.Newf(fail.Invalid, "shop", p.Group, "the gate's shard %d does not exist", p.Gate)
	}

	return nil
}

// GateKey is the text that the group's gate lock is hashed from.
func (p Platform) GateKey() string { return "drctl/gate/" + p.Group }

const (
	connectTimeout = 5 * time.Second
	// lockTimeout ends a wait that is no longer a stall but a failure.
	lockTimeout = 2 * time.Second
)

// Connect opens one connection. No statement waits for a lock for
// longer than lockTimeout.
func Connect(ctx context.Context, in targets.Instance) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fail.New(fail.Internal, "shop: connect", in.String(), "", err)
	}

	host, port, err := net.SplitHostPort(in.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, "shop: connect", in.String(), "", err)
	}

	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fail.New(fail.Invalid, "shop: connect", in.String(), "", err)
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = host, uint16(n), in.User, in.Password.Reveal(), in.Database

	cfg.Fallbacks, cfg.ConnectTimeout = nil, connectTimeout
	if cfg.TLSConfig, err = tlsConfig(in, host); err != nil {
		return nil, err
	}
	// Nothing is prepared on a session: a pooler gives every transaction another one.
	cfg.DefaultQueryExecMode = pgx.QueryExecModeExec
	cfg.RuntimeParams["lock_timeout"] = strconv.FormatInt(lockTimeout.Milliseconds(), 10)
	cfg.RuntimeParams["application_name"] = "shop"

	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, Failure("shop: connect", in, err)
	}

	return c, nil
}

// tlsConfig follows the instance's TLS setting; nil means plain text.
func tlsConfig(in targets.Instance, host string) (*tls.Config, error) {
	return tlsconf.Client("shop: connect", in.TLS, host, in.CAFile)
}

// quietRedis drops what the client library would write to the standard error
// about lost connections: every such failure is an operation's error already.
type quietRedis struct{}

func (quietRedis) Printf(context.Context, string, ...any) {}

var silenceRedis = sync.OnceFunc(func() { redis.SetLogger(quietRedis{}) })

// OpenRedis makes a client that writes nothing twice.
func OpenRedis(in targets.Instance) (*redis.Client, error) {
	host, _, err := net.SplitHostPort(in.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, "shop: connect", in.String(), "", err)
	}

	cfg, err := tlsConfig(in, host)
	if err != nil {
		return nil, err
	}

	silenceRedis()
	// A write is never repeated by the client: its outcome would be lost.
	return redis.NewClient(&redis.Options{Addr: in.Address, Username: in.User, Password: in.Password.Reveal(), TLSConfig: cfg,
		DialTimeout: connectTimeout, ReadTimeout: Timeout, WriteTimeout: Timeout, MaxRetries: -1, DisableIdentity: true}), nil
}

// OpenMedia makes a client that asks up to tries times.
func OpenMedia(in targets.Instance, tries int) *s3.Client {
	return s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(in.Address), UsePathStyle: true,
		Credentials:      credentials.NewStaticCredentialsProvider(in.User, in.Password.Reveal(), ""),
		RetryMaxAttempts: tries})
}

// Failure turns a server's answer into an error that names the instance.
func Failure(op string, in targets.Instance, err error) error {
	if err == nil {
		return nil
	}

	var done *fail.Error
	if errors.As(err, &done) {
		return err
	}
	code := fail.Unavailable

	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch {
		case len(pg.Code) < 2:
		case pg.Code[:2] == "28":
			code = fail.Denied
		case pg.Code[:2] == "42" || pg.Code[:2] == "3D":
			code = fail.NotFound
		case pg.Code == "55P03" || pg.Code == "57014":
			code = fail.Stalled
		case pg.Code[:2] == "53":
			code = fail.Exhausted
		}
	}

	return fail.New(code, op, in.String(), "", err)
}

// Reason is a short, countable name of why an operation failed.
func Reason(err error) string {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg):
		switch pg.Code {
		case "55P03":
			return "lock timeout"
		case "40P01":
			return "deadlock"
		case "25006":
			return "read-only server"
		case "57P01", "57P02", "57P03":
			return "server going down"
		case "08P01": // of a pooler, which has one code for all
			return "protocol: " + pg.Message
		}

		return fmt.Sprintf("sqlstate %s", pg.Code)
	case errors.Is(err, context.DeadlineExceeded):
		return "no answer"
	case errors.Is(err, ErrNotCommitted):
		return "rolled back by the server"
	}

	var ne net.Error
	if errors.As(err, &ne) && ne.Timeout() {
		return "no answer"
	}

	return "connection"
}
