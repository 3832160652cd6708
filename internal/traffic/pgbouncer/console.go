package pgbouncer

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/internal/retry"
	"drctl/internal/tlsconf"
)

// console is the admin console of one PgBouncer. It speaks the simple protocol
// alone. Its connection is kept, and made anew when it broke.
type console struct {
	spec Spec
	Pooler

	mu   sync.Mutex
	conn *pgconn.PgConn
}

// row is a row of what a command shows, by column; NULL is left out.
type row map[string]string

// run runs a command. One that fails on a connection that was kept is run again on a
// new one: every command can be repeated.
func (c *console) run(ctx context.Context, op, command string) ([]row, error) {
	c.mu.Lock()
	defer c.mu.Unlock()

	kept := c.conn != nil

	rows, err := c.once(ctx, op, command)
	if err != nil && kept && c.conn == nil && ctx.Err() == nil {
		rows, err = c.once(ctx, op, command)
	}

	return rows, err
}

func (c *console) once(ctx context.Context, op, command string) ([]row, error) {
	if c.conn == nil {
		conn, err := c.connect(ctx, op)
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}

	results, err := c.conn.Exec(ctx, command).ReadAll()
	if err != nil {
		if c.conn.IsClosed() || ctx.Err() != nil {
			c.drop()
		}

		return nil, c.failed(ctx, op, command, err)
	}

	var out []row
	for _, r := range results {
		for _, values := range r.Rows {
			m := row{}
			for i, f := range r.FieldDescriptions {
				if values[i] != nil {
					m[f.Name] = string(values[i])
				}
			}
			out = append(out, m)
		}
	}

	return out, nil
}

// failed says what became of a command.
func (c *console) failed(ctx context.Context, op, command string, err error) error {
	if e := fail.FromContext(op, c.Address, ctx.Err()); e != nil {
		return e
	}

	var said *pgconn.PgError
	if !errors.As(err, &said) {
		return fail.New(fail.Unavailable, op, c.Address, "is PgBouncer running?", err)
	}

	err = fmt.Errorf("%s: %s", command, said.Message)
	switch {
	case strings.Contains(said.Message, "admin access needed"), strings.Contains(said.Message, "not allowed"):
		return fail.New(fail.Denied, op, c.Address, "add the user to admin_users of PgBouncer", err)
	case strings.Contains(said.Message, "no such database"):
		return fail.New(fail.NotFound, op, c.Address, "correct the name of the database", err)
	}

	return fail.New(fail.Conflict, op, c.Address, "", err)
}

func (c *console) connect(ctx context.Context, op string) (*pgconn.PgConn, error) {
	// What is in the environment or in a password file is not for the console.
	cfg, err := pgconn.ParseConfig("host=localhost sslmode=disable passfile=/nonexistent user=drctl dbname=pgbouncer")
	if err != nil {
		return nil, fail.New(fail.Internal, op, c.Address, "", err)
	}

	host, port, err := net.SplitHostPort(c.Address)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, c.Address, "write host:port", err)
	}

	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fail.New(fail.Invalid, op, c.Address, "write host:port", err)
	}

	cfg.Host, cfg.Port, cfg.User, cfg.Password = host, uint16(number), c.spec.User, c.spec.Password.Reveal()
	cfg.Fallbacks, cfg.ConnectTimeout = nil, 5*time.Second
	cfg.RuntimeParams = map[string]string{"application_name": "drctl"}
	// Half-open connections are noticed: a pooler that is gone must not look slow.
	cfg.DialFunc = (&net.Dialer{KeepAlive: 5 * time.Second}).DialContext

	if cfg.TLSConfig, err = tlsconf.Client(op, c.spec.TLS, host, c.spec.CAFile); err != nil {
		return nil, err
	}

	conn, err := pgconn.ConnectConfig(ctx, cfg)
	if err == nil {
		return conn, nil
	}

	if e := fail.FromContext(op, c.Address, ctx.Err()); e != nil {
		return nil, e
	}

	var said *pgconn.PgError
	if errors.As(err, &said) {
		return nil, fail.New(fail.Denied, op, c.Address, "the console needs a user of admin_users and its password", fmt.Errorf("PgBouncer answered: %s", said.Message))
	}

	return nil, fail.New(fail.Unavailable, op, c.Address, "is PgBouncer running, and is this its address?", unwrapped(err))
}

// unwrapped leaves out what pgconn says of the connection's settings.
func unwrapped(err error) error {
	var c *pgconn.ConnectError
	if errors.As(err, &c) && c.Unwrap() != nil {
		return c.Unwrap()
	}

	return err
}

// until asks again until what was asked for is so, or ctx ends.
func (c *console) until(ctx context.Context, op string, try func() error) error {
	wait := retry.Policy{First: time.Millisecond, Max: 20 * time.Millisecond, If: retry.On(fail.Unverified)}

	err := retry.Do(ctx, wait, try)
	if e := fail.FromContext(op, c.Address, ctx.Err()); err != nil && e != nil {
		return fail.New(e.Code, op, c.Address, "end long transactions, or allow more time", errors.New(fail.Cause(err)))
	}

	return err
}

// close gives the connection up.
func (c *console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()

	c.drop()
}

func (c *console) drop() {
	if c.conn == nil {
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	_ = c.conn.Close(ctx)
	c.conn = nil
}

// database is what a console shows of the route's database.
type database struct {
	address     string
	mode        string // "" is the default of PgBouncer
	paused      bool
	disabled    bool
	connections int // to servers
}

func (c *console) database(ctx context.Context, op string) (database, error) {
	rows, err := c.run(ctx, op, "SHOW DATABASES")
	if err != nil {
		return database{}, err
	}

	for _, r := range rows {
		if r["name"] != c.spec.Database {
			continue
		}

		n, err := strconv.Atoi(r["current_connections"])
		if err != nil {
			return database{}, fail.New(fail.Unsupported, op, c.Address, "PgBouncer 1.8 or later is needed", err)
		}

		return database{address: net.JoinHostPort(r["host"], r["port"]), mode: r["pool_mode"], paused: r["paused"] == "1",
			disabled: r["disabled"] == "1", connections: n}, nil
	}

	return database{}, fail.New(fail.NotFound, op, c.Address, "give it a line of its own under [databases]",
		fmt.Errorf("PgBouncer has no database %s", c.spec.Database))
}

// session reports whether a pool of the database gives servers to clients for as long
// as they stay. That is said by user, by database, or for all.
func (c *console) session(ctx context.Context, op string, db database) (bool, error) {
	pools, err := c.run(ctx, op, "SHOW POOLS")
	if err != nil {
		return false, err
	}

	known := false
	for _, p := range pools {
		if p["database"] == c.spec.Database {
			if p["pool_mode"] == "session" {
				return true, nil
			}
			known = true
		}
	}

	if known || db.mode != "" {
		return db.mode == "session", nil
	}

	mode, err := c.setting(ctx, op, "pool_mode")

	return mode != "transaction" && mode != "statement", err
}

// setting reads one of PgBouncer's settings; "" when it has none of that name.
func (c *console) setting(ctx context.Context, op, key string) (string, error) {
	rows, err := c.run(ctx, op, "SHOW CONFIG")
	if err != nil {
		return "", err
	}

	for _, r := range rows {
		if r["key"] == key {
			return r["value"], nil
		}
	}

	return "", nil
}
