package drills

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/internal/servers"
	"drctl/targets"
)

const connectLimit = 10 * time.Second

// admit refuses everything but a plain sandbox instance of the kind: a drill
// never touches production, whoever calls it with what.
func admit(in targets.Instance, kind targets.Kind) error {
	const op = "drill: connect"
	if in.Role != targets.Sandbox {
		return fail.New(fail.Denied, op, in.String(), "checks run on sandbox instances only",
			fmt.Errorf("the instance is a %s, not a sandbox", in.Role))
	}
	if in.Kind != kind {
		return fail.Newf(fail.Invalid, op, in.String(), "the instance is %s, the check needs %s", in.Kind, kind)
	}
	if in.TLS != "" && in.TLS != "disable" {
		return fail.Newf(fail.Unsupported, op, in.String(), "a sandbox has no TLS, but %q is asked for", in.TLS)
	}
	return nil
}

// Postgres is a read-only session on a restored sandbox instance. It is used
// by one goroutine at a time.
type Postgres struct {
	conn *pgconn.PgConn
	name string
}

// ConnectPostgres opens a read-only session. Close it.
func ConnectPostgres(ctx context.Context, in targets.Instance) (*Postgres, error) {
	const op = "drill: connect"
	if err := admit(in, targets.Postgres); err != nil {
		return nil, err
	}
	// Everything that the process environment could set is set here.
	cfg, err := pgx.ParseConfig("host=localhost user=drctl dbname=postgres sslmode=disable passfile=/nonexistent")
	if err != nil {
		return nil, fail.New(fail.Internal, op, in.String(), "unset the PG* variables of the environment", err)
	}
	host, port, err := net.SplitHostPort(in.Address)
	if i := strings.LastIndexByte(in.Address, ':'); strings.HasPrefix(in.Address, "/") && i > 0 {
		host, port, err = in.Address[:i], in.Address[i+1:], nil
	}
	n, perr := strconv.ParseUint(port, 10, 16)
	if err = errors.Join(err, perr); err != nil {
		return nil, fail.New(fail.Invalid, op, in.String(), "write the address as host:port", err)
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = host, uint16(n), in.User, in.Password.Reveal(), in.Database
	cfg.Fallbacks, cfg.TLSConfig, cfg.ConnectTimeout = nil, nil, connectLimit
	cfg.ValidateConnect, cfg.AfterConnect = nil, nil
	cfg.RuntimeParams = servers.PostgresSession(servers.PostgresMajor(in.DataDir))
	cfg.RuntimeParams["application_name"] = "drctl drill"
	cfg.RuntimeParams["default_transaction_read_only"] = "on"
	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return nil, postgresError(op, in.String(), err)
	}
	if _, err := conn.Exec(ctx, servers.RefuseForeignTables).ReadAll(); err != nil {
		_ = conn.Close(ctx) // the error is what counts
		return nil, postgresError(op, in.String(), err)
	}
	return &Postgres{conn: conn, name: in.String()}, nil
}

// String names the instance.
func (p *Postgres) String() string { return p.name }

// Close ends the session.
func (p *Postgres) Close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = p.conn.Close(ctx) // read only: there is nothing to lose
}

// Rows runs one statement and streams its rows as text. A consumer that stops
// early stops the statement on the server.
func (p *Postgres) Rows(ctx context.Context, sql string) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		qctx, cancel := context.WithCancel(ctx)
		defer cancel()
		rr := p.conn.ExecParams(qctx, sql, nil, nil, nil, nil)
		for rr.NextRow() {
			row := make(Row, len(rr.Values()))
			for i, v := range rr.Values() {
				if v != nil {
					s := string(v) // the driver uses its memory again
					row[i] = &s
				}
			}
			if !yield(row, nil) {
				p.abandon(rr)
				return
			}
		}
		if _, err := rr.Close(); err != nil {
			yield(nil, postgresError("drill: query", p.name, err))
		}
	}
}

// abandon ends a statement of which not all rows are wanted. Few rows are read
// to their end, which keeps the session; the server is asked to stop the rest.
func (p *Postgres) abandon(rr *pgconn.ResultReader) {
	for range 100 {
		if !rr.NextRow() {
			_, _ = rr.Close() // not wanted any more
			return
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = p.conn.CancelRequest(ctx) // else the rest is read to its end
	_, _ = rr.Close()
}

func postgresError(op, subject string, err error) error {
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && strings.HasPrefix(pg.Code, "28"):
		return fail.New(fail.Denied, op, subject, "", err)
	case answered(err):
		return fail.New(fail.Invalid, op, subject, "", err)
	}
	return fail.New(fail.Unavailable, op, subject, "look at the sandbox server's log file", err)
}

// Bucket opens the objects of a restored sandbox bucket.
type Bucket struct {
	client *s3.Client
	bucket string
	name   string
}

// ConnectBucket makes a client of a sandbox bucket; nothing is sent yet.
func ConnectBucket(in targets.Instance) (*Bucket, error) {
	if err := admit(in, targets.S3); err != nil {
		return nil, err
	}
	endpoint := in.Address
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	c := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(endpoint), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(in.User, in.Password.Reveal(), ""), RetryMaxAttempts: 3})
	return &Bucket{client: c, bucket: in.Database, name: in.String()}, nil
}

// String names the instance.
func (b *Bucket) String() string { return b.name }

// Open reads an object, wherever the sandbox keeps it.
func (b *Bucket) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	// An odd key may reach another object, as "p//q" reaches "p/q" where keys are
	// paths: what lies aside under the key's own name comes first.
	odd, name := targets.OddBucket, targets.OddName(key)
	if out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &odd, Key: &name}); err == nil {
		return out.Body, nil
	}
	out, err := b.client.GetObject(ctx, &s3.GetObjectInput{Bucket: &b.bucket, Key: &key})
	if err == nil {
		return out.Body, nil
	}
	const op = "drill: open object"
	subject := b.name + " " + key
	var noKey *types.NoSuchKey
	var api smithy.APIError
	switch {
	case errors.As(err, &noKey):
		return nil, fail.New(fail.NotFound, op, subject, "", err)
	case !errors.As(err, &api):
		return nil, fail.New(fail.Unavailable, op, subject, "look at the sandbox server's log file", err)
	}
	switch api.ErrorCode() {
	case "NoSuchKey", "NotFound":
		return nil, fail.New(fail.NotFound, op, subject, "", err)
	case "NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch":
		return nil, fail.New(fail.Denied, op, subject, "", err)
	}
	// The server answered, after retries, that it cannot give this object.
	return nil, fail.New(fail.Corrupt, op, subject, "", err)
}
