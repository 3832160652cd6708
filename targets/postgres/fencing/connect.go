package fencing

import (
	"context"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/tlsconf"
	"drctl/targets"
)

// Open is New with sessions as the instance describes them; nothing is taken from
// the environment.
func Open(in targets.Instance) (*Server, error) {
	const op = "fencing"

	cfg, err := pgx.ParseConfig("host=localhost sslmode=disable passfile=/nonexistent user=drctl dbname=postgres")
	if err != nil {
		return nil, fail.New(fail.Internal, op, in.String(), "unset the PG* variables of the environment", err)
	}

	host, port, err := net.SplitHostPort(in.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, in.String(), "write the address as host:port", err)
	}

	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, in.String(), "write the address as host:port", err)
	}

	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = host, uint16(n), in.User, in.Password.Reveal(), in.Database
	cfg.Fallbacks, cfg.ConnectTimeout = nil, 2*time.Second
	// What the server was made to do before must not keep the guard from undoing it.
	cfg.RuntimeParams = map[string]string{"application_name": "drctl guard", "default_transaction_read_only": "off", "statement_timeout": "0", "lock_timeout": "0"}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec

	if cfg.TLSConfig, err = tlsconf.Client(op, in.TLS, host, in.CAFile); err != nil {
		return nil, err
	}

	return New(in, func(ctx context.Context) (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, cfg) })
}
