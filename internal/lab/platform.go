package lab

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"drctl/internal/fail"
	"drctl/targets"
)

// Platform lists the primaries that the shop writes to. Shard i of Orders is
// the one that journals and configurations call "i"; the same holds for Carts.
// A test may use any number of them, and leave out Carts and Media.
type Platform struct {
	Group  string // of the gate; default "shop"
	Orders []targets.Instance
	Carts  []targets.Instance
	Media  targets.Instance // the bucket of images; no Address: no images
}

// Platform returns the lab's primaries as the shop's own user reaches them.
func (l *Lab) Platform() (Platform, error) {
	p := Platform{Group: "shop"}
	shop, err := l.secret("shop")
	if err != nil {
		return p, err
	}
	for _, id := range l.Shards("orders") {
		in, err := l.Instance(East, id)
		if err != nil {
			return p, err
		}
		in.User, in.Password = "shop", shop
		p.Orders = append(p.Orders, in)
	}
	for _, id := range l.Shards("carts") {
		in, err := l.Instance(East, id)
		if err != nil {
			return p, err
		}
		p.Carts = append(p.Carts, in)
	}
	p.Media, err = l.Instance(East, targets.ShardID{Target: "media", Shard: "0"})
	return p, err
}

func (p Platform) group() string {
	if p.Group == "" {
		return "shop"
	}
	return p.Group
}

// SchemaOptions size the shop of one shard.
type SchemaOptions struct {
	Accounts int   // default 1000
	Items    int   // default 1000
	Balance  int64 // initial balance of each account; default 1000
	Quantity int64 // initial quantity of each item; default 1000
	// Fill adds about so many bytes of rows that the traffic never touches, for
	// measurements of size.
	Fill int64
}

func (o SchemaOptions) fill() SchemaOptions {
	if o.Accounts == 0 {
		o.Accounts = 1000
	}
	if o.Items == 0 {
		o.Items = 1000
	}
	if o.Balance == 0 {
		o.Balance = 1000
	}
	if o.Quantity == 0 {
		o.Quantity = 1000
	}
	return o
}

// schemaSQL makes the shop's tables. meta keeps what the sums over a shard
// were in the beginning: across all shards they must stay the same for ever.
const schemaSQL = `
CREATE TABLE IF NOT EXISTS accounts (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE IF NOT EXISTS stock (sku int PRIMARY KEY, qty bigint NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id uuid PRIMARY KEY, account int NOT NULL, sku int NOT NULL, qty bigint NOT NULL, amount bigint NOT NULL,
	created timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE TABLE IF NOT EXISTS transfers (id uuid PRIMARY KEY, style text NOT NULL, peer int NOT NULL, money bigint NOT NULL, goods bigint NOT NULL);
CREATE TABLE IF NOT EXISTS product_images (key text PRIMARY KEY, sha256 text NOT NULL, size bigint NOT NULL, op uuid NOT NULL UNIQUE);
CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value bigint NOT NULL);
`

// CreateSchema makes and fills the tables of every PostgreSQL shard. A shard
// that has them already is left as it is.
func (p Platform) CreateSchema(ctx context.Context, opt SchemaOptions) error {
	for _, in := range p.Orders {
		if err := createSchema(ctx, in, opt); err != nil {
			return err
		}
	}
	return nil
}

func createSchema(ctx context.Context, in targets.Instance, opt SchemaOptions) error {
	opt = opt.fill()
	c, err := dial(ctx, in, "shop-schema")
	if err != nil {
		return err
	}
	defer closeConn(c)
	sql := "BEGIN;" + schemaSQL + fmt.Sprintf(`
INSERT INTO accounts SELECT g, %d FROM generate_series(1, %d) g ON CONFLICT DO NOTHING;
INSERT INTO stock SELECT g, %d FROM generate_series(1, %d) g ON CONFLICT DO NOTHING;
INSERT INTO meta SELECT 'balance', sum(balance) FROM accounts ON CONFLICT DO NOTHING;
INSERT INTO meta SELECT 'stock', sum(qty) FROM stock ON CONFLICT DO NOTHING;
INSERT INTO meta VALUES ('accounts', %[2]d), ('items', %[4]d) ON CONFLICT DO NOTHING;`,
		opt.Balance, opt.Accounts, opt.Quantity, opt.Items)
	if opt.Fill > 0 {
		// About 1 KiB a row, that does not compress to nothing.
		sql += fmt.Sprintf(`
CREATE TABLE IF NOT EXISTS archive (id bigint PRIMARY KEY, body text NOT NULL);
INSERT INTO archive SELECT g, (SELECT string_agg(md5(g::text || i::text), '') FROM generate_series(1, 30) i)
	FROM generate_series(1, %d) g ON CONFLICT DO NOTHING;`, opt.Fill/1024)
	}
	if err := c.exec(ctx, sql+"COMMIT"); err != nil {
		return fail.New(fail.Unavailable, "lab: make tables", in.String(), "", err)
	}
	return nil
}

// conn is one session of the shop.
type conn struct {
	*pgconn.PgConn
	in targets.Instance
}

// dial opens a session. Only this package's own statements run on it, built
// from numbers and UUIDs, so the simple protocol is enough and the cheapest.
func dial(ctx context.Context, in targets.Instance, application string) (*conn, error) {
	cfg, err := pgconn.ParseConfig("sslmode=disable")
	if err != nil {
		return nil, fail.New(fail.Internal, "lab: connect", in.String(), "", err)
	}
	host, port, err := hostPort(in.Address)
	if err != nil {
		return nil, err
	}
	cfg.Host, cfg.Port, cfg.User, cfg.Password, cfg.Database = host, port, in.User, in.Password.Reveal(), in.Database
	cfg.Fallbacks, cfg.ConnectTimeout = nil, 3*time.Second
	cfg.RuntimeParams = map[string]string{"application_name": application}
	pc, err := pgconn.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fail.New(fail.Unavailable, "lab: connect", in.String(), "see: drctl lab status", err)
	}
	return &conn{pc, in}, nil
}

func closeConn(c *conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = c.Close(ctx)
}

// exec runs statements without results.
func (c *conn) exec(ctx context.Context, sql string) error {
	_, err := c.Exec(ctx, sql).ReadAll()
	return err
}

// rows runs one query and hands over each row; the bytes are valid only
// during the call.
func (c *conn) rows(ctx context.Context, sql string, row func(v [][]byte) error) error {
	mrr := c.Exec(ctx, sql)
	var failed error
	for mrr.NextResult() {
		rr := mrr.ResultReader()
		for rr.NextRow() {
			if failed == nil {
				failed = row(rr.Values())
			}
		}
		if _, err := rr.Close(); err != nil && failed == nil {
			failed = err
		}
	}
	if err := mrr.Close(); err != nil {
		return err
	}
	return failed
}

// number runs a query whose first column of the first row is a number.
func (c *conn) number(ctx context.Context, sql string) (n int64, err error) {
	err = c.rows(ctx, sql, func(v [][]byte) error {
		n, err = strconv.ParseInt(string(v[0]), 10, 64)
		return err
	})
	return n, err
}
