package postgres

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/internal/tlsconf"
	"drctl/targets"
	"drctl/targets/postgres/sqlstate"
)

const (
	applicationName = "drctl"
	connectTimeout  = 5 * time.Second
)

// config builds the connection settings from values alone: whatever the
// process environment says about PostgreSQL is overwritten.
func config(op string, in targets.Instance) (*pgx.ConnConfig, error) {
	host, port, err := splitAddress(in.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, in.String(), "write the address as host:port", err)
	}

	cfg, err := pgx.ParseConfig("host=localhost sslmode=disable passfile=/nonexistent user=drctl dbname=postgres")
	if err != nil {
		return nil, fail.New(fail.Internal, op, in.String(), "unset the PG* variables of the environment", err)
	}
	cfg.Host, cfg.Port = host, port

	cfg.User, cfg.Password, cfg.Database = in.User, in.Password.Reveal(), in.Database
	if cfg.Database == "" {
		cfg.Database = "postgres"
	}
	cfg.Fallbacks, cfg.ValidateConnect, cfg.AfterConnect = nil, nil, nil
	cfg.ConnectTimeout = connectTimeout

	cfg.RuntimeParams = map[string]string{"application_name": applicationName}
	for _, name := range noLimits {
		cfg.RuntimeParams[name] = "0"
	}
	cfg.DefaultQueryExecMode = pgx.QueryExecModeDescribeExec
	dialer := &net.Dialer{Timeout: connectTimeout, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 5 * time.Second, Interval: 3 * time.Second, Count: 3}}
	cfg.DialFunc = dialer.DialContext

	cfg.TLSConfig, err = tlsconf.Client(op, in.TLS, host, in.CAFile)
	if err != nil {
		return nil, err
	}

	return cfg, nil
}

func splitAddress(address string) (host string, port uint16, err error) {
	if strings.HasPrefix(address, "/") { // a socket directory, with ":port" behind it
		i := strings.LastIndexByte(address, ':')
		if i < 0 {
			return address, 5432, nil
		}
		n, err := strconv.ParseUint(address[i+1:], 10, 16)

		return address[:i], uint16(n), err
	}

	h, p, err := net.SplitHostPort(address)
	if err != nil {
		return "", 0, err
	}

	n, err := strconv.ParseUint(p, 10, 16)
	if err != nil || n == 0 {
		return "", 0, fmt.Errorf("%q is not a port", p)
	}

	return h, uint16(n), nil
}

// noLimits switches off what a platform may limit its own sessions by: those of
// drctl live as long as a base takes, and bound what they do themselves.
// default_transaction_read_only is not among them: it tells a primary that was
// made read-only on purpose. All supported versions know these settings.
var noLimits = []string{"statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout"}

// newLimits are those of later versions, which earlier ones refuse.
var newLimits = []struct {
	name  string
	since int
}{{"idle_session_timeout", 140000}, {"transaction_timeout", 170000}}

// connect opens a direct session with the system catalogues first in line.
func connect(ctx context.Context, op string, in targets.Instance) (*pgx.Conn, error) {
	cfg, err := config(op, in)
	if err != nil {
		return nil, err
	}

	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, connectError(ctx, op, in, err)
	}

	var sql strings.Builder
	for _, l := range newLimits {
		if l.since <= versionOf(conn.PgConn()) {
			sql.WriteString("SET " + l.name + " = 0; ")
		}
	}

	if sql.Len() == 0 {
		return conn, nil
	}

	if _, err := conn.PgConn().Exec(ctx, sql.String()).ReadAll(); err != nil {
		closeConn(conn)
		return nil, queryError(op, in, "", err)
	}

	return conn, nil
}

// versionOf reads a server's version from its greeting, as server_version_num
// with the minor number 0; 0 when that cannot be read.
func versionOf(conn *pgconn.PgConn) int {
	text := conn.ParameterStatus("server_version") // "15.18 (Debian ...)", "18beta1"
	if i := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' }); i >= 0 {
		text = text[:i]
	}

	major, err := strconv.Atoi(text)
	if err != nil {
		return 0
	}

	return major * 10000
}

// walsender opens a physical replication session with a server of a version.
func walsender(ctx context.Context, op string, in targets.Instance, version int) (*pgconn.PgConn, error) {
	cfg, err := config(op, in)
	if err != nil {
		return nil, err
	}
	cfg.RuntimeParams["replication"] = "true"
	// A client that is gone must free the slot soon.
	cfg.RuntimeParams["wal_sender_timeout"] = "10s"
	for _, l := range newLimits { // such a session knows no SET
		if l.since <= version {
			cfg.RuntimeParams[l.name] = "0"
		}
	}

	conn, err := pgconn.ConnectConfig(ctx, &cfg.Config)
	if err != nil {
		return nil, connectError(ctx, op, in, err)
	}

	return conn, nil
}

// direct tells a session with the server from one through a pooler: a pooler
// invents the process id of the cancel key, the server does not.
func direct(ctx context.Context, op string, in targets.Instance, conn *pgx.Conn) error {
	var pid uint32
	if err := conn.QueryRow(ctx, "SELECT pg_catalog.pg_backend_pid()").Scan(&pid); err != nil {
		return queryError(op, in, "", err)
	}

	if pid != conn.PgConn().PID() {
		return pooled(op, in, fmt.Errorf("the session's server process is %d, the address answered as %d", pid, conn.PgConn().PID()))
	}

	return nil
}

func pooled(op string, in targets.Instance, cause error) error {
	return fail.New(fail.Invalid, op, in.String(), "the address leads to a connection pooler (PgBouncer or alike); drctl needs the server's own port", cause)
}

// connectError says why a session could not be opened.
func connectError(ctx context.Context, op string, in targets.Instance, err error) error {
	if ctx.Err() != nil && errors.Is(ctx.Err(), context.Canceled) {
		return fail.New(fail.Unavailable, op, in.String(), "", ctx.Err())
	}

	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return serverRefusal(op, in, pe)
	}

	text := err.Error()
	switch {
	case strings.Contains(text, "unknown message type"), strings.Contains(text, "unexpected message"),
		strings.Contains(text, "invalid message"), strings.Contains(text, "unknown authentication"),
		strings.Contains(text, "invalid body length"), strings.Contains(text, "expected msg"):
		return fail.New(fail.Invalid, op, in.String(), "another kind of server answers there; check the address", err)
	case strings.Contains(text, "server refused TLS"):
		return fail.New(fail.Invalid, op, in.String(), "the server has no TLS; switch it on there, or set tls: disable", err)
	case strings.Contains(text, "x509:") || strings.Contains(text, "tls:"):
		return fail.New(fail.Denied, op, in.String(), "check ca_file, the server's certificate and the host name in the address", err)
	}

	if kind := otherKind(ctx, in.Address, err); kind != "" {
		return fail.New(fail.Invalid, op, in.String(), "check the address", fmt.Errorf("a %s server answers there, not PostgreSQL", kind))
	}

	return fail.New(fail.Unavailable, op, in.String(), "check that the server runs, listens on this address and that no firewall is between", err)
}

// otherKind finds out whether a server that took the connection but never
// answered a PostgreSQL greeting speaks Redis or HTTP, while there is time: both wait for a line's end.
func otherKind(ctx context.Context, address string, err error) string {
	var ne net.Error
	if ctx.Err() != nil || !errors.As(err, &ne) || !ne.Timeout() {
		return ""
	}

	c, derr := net.DialTimeout("tcp", address, time.Second)
	if derr != nil {
		return ""
	}
	defer c.Close()

	_ = c.SetDeadline(time.Now().Add(time.Second))
	if _, err := c.Write([]byte("PING / HTTP/1.0\r\n\r\n")); err != nil {
		return ""
	}
	buf := make([]byte, 16)

	n, _ := c.Read(buf)
	if s := string(buf[:n]); strings.HasPrefix(s, "+PONG") || strings.HasPrefix(s, "-NOAUTH") || strings.HasPrefix(s, "-DENIED") || strings.HasPrefix(s, "-ERR") {
		return "Redis"
	}

	if strings.HasPrefix(string(buf[:n]), "HTTP/") {
		return "web"
	}

	return ""
}

func serverRefusal(op string, in targets.Instance, pe *pgconn.PgError) error {
	if pe.Code == "08P01" && strings.Contains(pe.Message, "startup parameter") {
		return pooled(op, in, pe)
	}

	code, hint, ok := sqlstate.Meaning(pe.Code, in.User, "")
	if !ok || code == fail.Exhausted { // a server that has room again takes connections
		code = fail.Unavailable
	}

	return fail.New(code, op, in.String(), hint, bare(pe))
}

// queryError turns the error of a statement into a fail.Error. grant is the
// statement that a lacking privilege needs; it may be empty.
func queryError(op string, in targets.Instance, grant string, err error) error {
	if err == nil {
		return nil
	}

	var fe *fail.Error
	if errors.As(err, &fe) {
		return err
	}

	var pe *pgconn.PgError
	if !errors.As(err, &pe) {
		if errors.Is(err, context.Canceled) {
			return fail.New(fail.Unavailable, op, in.String(), "", err)
		}

		if errors.Is(err, context.DeadlineExceeded) {
			return fail.New(fail.Stalled, op, in.String(), "the server did not answer in time; look at its load and its locks", err)
		}

		if strings.HasPrefix(err.Error(), "can't scan") {
			return fail.New(fail.Internal, op, in.String(), "", err)
		}

		return fail.New(fail.Unavailable, op, in.String(), "the connection broke; check the server and its log", err)
	}

	code, hint, ok := sqlstate.Meaning(pe.Code, in.User, grant)
	if !ok {
		code = fail.Internal
	}

	return fail.New(code, op, in.String(), hint, bare(pe))
}

// bare keeps the server's words and code and drops the rest.
func bare(pe *pgconn.PgError) error {
	s := pe.Message
	if pe.Detail != "" {
		s += ": " + pe.Detail
	}

	return &serverError{code: pe.Code, text: s, where: pe.Where}
}

// serverError is what a server said. where is its context, which is not shown:
// it quotes statements.
type serverError struct{ code, text, where string }

func (e *serverError) Error() string { return e.text + " (SQLSTATE " + e.code + ")" }

// SQLState is the code, as of a pgconn.PgError.
func (e *serverError) SQLState() string { return e.code }

func quoteIdent(s string) string { return pgx.Identifier{s}.Sanitize() }

// quoteLiteral needs standard_conforming_strings, which is the default since 9.1.
func quoteLiteral(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }
