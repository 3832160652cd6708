package lab

import (
	"context"
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/lab/clocks"
	"drctl/internal/lab/lines"
	"drctl/internal/servers"
	"drctl/targets"
)

// postgresSettings keep eight clusters small and give drctl what it needs.
var postgresSettings = map[string]string{
	"wal_level": "replica", "max_wal_senders": "10", "max_replication_slots": "10", "hot_standby": "on",
	"max_prepared_transactions": "200", "max_connections": "120", "shared_buffers": "32MB", "max_wal_size": "1GB",
	"wal_keep_size": "64MB", "max_slot_wal_keep_size": "4GB", "checkpoint_timeout": "5min",
	"autovacuum_naptime": "30s", "log_min_messages": "warning",
}

// postgresSettings are those of a server. In a lab whose primaries move a standby looks
// again soon. Not oftener, and in no other lab: while a primary is gone every look is a process, and
// looks every 100 ms took half the machine from a recovery.
func (l *Lab) postgresSettings() map[string]string {
	out := maps.Clone(postgresSettings)
	if l.Proxied() {
		out["wal_retrieve_retry_interval"] = "1s"
	}

	return out
}

// Start starts one server that is down, as its service manager would: what it is, its directory
// says. One that runs is left alone.
func (l *Lab) Start(ctx context.Context, name string) error {
	for i, s := range l.Servers() {
		switch {
		case s.Name != name:
		case s.Proc.Alive():
			return nil
		default:
			return l.start(ctx, i)
		}
	}

	return fail.Newf(fail.NotFound, "lab: start", name, "the lab has no such server")
}

func (l *Lab) start(ctx context.Context, i int) error {
	s := l.Servers()[i]
	var proc servers.Server

	var err error
	switch s.Kind {
	case targets.Postgres:
		proc, err = l.startPostgres(ctx, i, s)
	case targets.Redis:
		proc, err = l.startRedis(ctx, s)
	case servers.PgBouncer, servers.HAProxy:
		proc, err = l.startProxy(ctx, s)
	case linesName:
		proc, err = l.startLines(ctx, s)
	case targets.S3:
		secret, serr := l.secret("s3")
		if serr != nil {
			return serr
		}
		proc, err = l.tools.StartS3(ctx, servers.S3Spec{Name: s.Name, Dir: s.Dir, Port: s.Port, AccessKey: "lab", SecretKey: secret, Detached: true})
	}

	if proc.Pid != 0 && l.st.Clocks {
		err = errors.Join(err, clocks.Started(proc.Pid))
	}

	if proc.Pid != 0 {
		err = errors.Join(err, l.update(i, func(x *Server) { x.Proc, x.Made = proc, x.Made || err == nil }))
	}

	return err
}

func (l *Lab) startRedis(ctx context.Context, s Server) (servers.Server, error) {
	secret, err := l.secret("redis")
	if err != nil {
		return servers.Server{}, err
	}

	env, err := l.clockOf(s)
	if err != nil {
		return servers.Server{}, err
	}

	spec := servers.RedisSpec{Name: s.Name, Dir: s.Dir, Port: s.Port, Password: secret, Detached: true, Env: env,
		Settings: map[string]string{"appendonly": "yes", "appendfsync": "everysec", "save": "", "repl-backlog-size": "16mb",
			"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0"}}

	// What its configuration says may be of a switchover since.
	var known bool
	if s.Made {
		spec.ReplicaOf, known = replicaOf(s.Dir)
	}

	if !known {
		m, err := l.upstream(ctx, s)
		if err != nil {
			return servers.Server{}, err
		}
		spec.ReplicaOf = m.Address
	}

	return l.tools.StartRedis(ctx, spec)
}

func (l *Lab) startPostgres(ctx context.Context, i int, s Server) (servers.Server, error) {
	secret, err := l.secret("postgres")
	if err != nil {
		return servers.Server{}, err
	}

	env, err := l.clockOf(s)
	if err != nil {
		return servers.Server{}, err
	}

	spec := servers.PostgresSpec{Name: s.Name, Dir: s.Dir, Port: s.Port, User: "drctl", Password: secret, Settings: l.postgresSettings(), Detached: true, Env: env,
		HBA: []string{"host all all 127.0.0.1/32 scram-sha-256", "host replication all 127.0.0.1/32 scram-sha-256"}}

	var from targets.Instance

	if !s.Made {
		if from, err = l.upstream(ctx, s); err != nil {
			return servers.Server{}, err
		}

		// A half-made directory of an earlier attempt goes first.
		if err := os.RemoveAll(s.Dir); err != nil {
			return servers.Server{}, fail.FromOS("lab: make", s.Name, err)
		}

		if from.Address == "" {
			err = l.tools.InitPostgres(ctx, spec)
		} else {
			err = l.standby(ctx, from, s, spec)
		}

		if err != nil {
			return servers.Server{}, err
		}
	}

	p, err := l.tools.StartPostgres(ctx, spec)
	if err != nil || s.Made || from.Address != "" {
		return p, err
	}

	return p, l.initDatabase(ctx, s)
}

func (l *Lab) standby(ctx context.Context, from targets.Instance, s Server, spec servers.PostgresSpec) error {
	// A slot of an attempt that died would be in the way.
	err := l.exec(ctx, from, "postgres", "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '"+s.Region+"' AND NOT active")
	if err != nil {
		return err
	}

	return l.tools.BaseBackup(ctx, from, spec, s.Region)
}

func (l *Lab) initDatabase(ctx context.Context, s Server) error {
	in, err := l.Instance(s.Region, s.Shard)
	if err != nil {
		return err
	}

	shop, err := l.secret("shop")
	if err != nil {
		return err
	}

	for _, q := range []string{"CREATE DATABASE shop", "CREATE ROLE shop LOGIN PASSWORD '" + shop.Reveal() + "'", "ALTER DATABASE shop OWNER TO shop"} {
		if err := l.exec(ctx, in, "postgres", q); err != nil && !strings.Contains(err.Error(), "already exists") {
			return err
		}
	}

	return nil
}

func (l *Lab) exec(ctx context.Context, in targets.Instance, database, sql string) error {
	c, err := connect(ctx, in, database)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))

	if _, err := c.Exec(ctx, sql); err != nil {
		return fail.New(fail.Unavailable, "lab: set up", in.String(), "", err)
	}

	return nil
}

func connect(ctx context.Context, in targets.Instance, database string) (*pgx.Conn, error) {
	cfg, err := pgx.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fail.New(fail.Internal, "lab: connect", in.String(), "", err)
	}

	host, port, err := hostPort(in.Address)
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = host, port, in.User, in.Password.Reveal(), database

	c, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fail.New(fail.Unavailable, "lab: connect", in.String(), "", err)
	}

	return c, nil
}

// buckets makes the media and vault buckets, with versioning, and that of the witness.
func (l *Lab) buckets(ctx context.Context) error {
	if l.Lined() {
		if err := l.bucket(ctx, lines.Outside, witness, "witness", false); err != nil {
			return err
		}
	}

	for _, region := range []string{East, West} {
		for _, b := range []string{"media", vaultBucket} {
			if err := l.bucket(ctx, region, targets.ShardID{Target: "media", Shard: "0"}, b, true); err != nil {
				return err
			}
		}
	}

	return nil
}

// bucket makes a bucket in a store.
func (l *Lab) bucket(ctx context.Context, region string, store targets.ShardID, b string, versioned bool) error {
	in, err := l.Instance(region, store)
	if err != nil {
		return err
	}

	c := s3.New(s3.Options{Region: "us-east-1", BaseEndpoint: aws.String(in.Address), UsePathStyle: true,
		Credentials: credentials.NewStaticCredentialsProvider(in.User, in.Password.Reveal(), "")})

	_, err = c.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b})
	var mine *types.BucketAlreadyOwnedByYou

	var there *types.BucketAlreadyExists
	if err != nil && !errors.As(err, &mine) && !errors.As(err, &there) {
		return fail.New(fail.Unavailable, "lab: make bucket", region+"/"+b, "", err)
	}

	if !versioned {
		return nil
	}

	if _, err := c.PutBucketVersioning(ctx, &s3.PutBucketVersioningInput{Bucket: &b,
		VersioningConfiguration: &types.VersioningConfiguration{Status: types.BucketVersioningStatusEnabled}}); err != nil {
		return fail.New(fail.Unavailable, "lab: switch versioning on", region+"/"+b, "", err)
	}

	return nil
}

// regionDir holds every disk of a region.
func (l *Lab) regionDir(region string) string { return filepath.Join(l.dir, region) }
