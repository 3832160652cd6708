package setup

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/stores"
	"drctl/targets"
)

// Options size the shop. Zero counts take the defaults.
type Options struct {
	Accounts int // per shard; default 1000
	SKUs     int // per shard; default 1000
	// PayloadBytes is how much filler text each shard holds at least.
	PayloadBytes int64
	// Realistic makes what the parts beyond Classic need, another database on
	// each cluster among it.
	Realistic bool
}

const (
	fillerRow   = 1 << 10 // characters
	fillerBatch = 4 << 10 // rows per transaction
)

const schema = `
CREATE TABLE IF NOT EXISTS meta (name text PRIMARY KEY, value bigint NOT NULL);
CREATE TABLE IF NOT EXISTS accounts (id int PRIMARY KEY, balance bigint NOT NULL);
CREATE TABLE IF NOT EXISTS stock (sku int PRIMARY KEY, qty bigint NOT NULL);
CREATE TABLE IF NOT EXISTS orders (id uuid PRIMARY KEY, account int NOT NULL, sku int NOT NULL, at timestamptz NOT NULL);
CREATE TABLE IF NOT EXISTS transfers (id uuid, leg int, amount bigint NOT NULL, kind text NOT NULL, PRIMARY KEY (id, leg));
CREATE TABLE IF NOT EXISTS product_images (key text PRIMARY KEY, sha256 text NOT NULL, size bigint NOT NULL);
CREATE TABLE IF NOT EXISTS filler (id bigint PRIMARY KEY, data text NOT NULL);
CREATE TABLE IF NOT EXISTS order_lines (id uuid PRIMARY KEY REFERENCES orders ON DELETE CASCADE, sku int NOT NULL);
CREATE OR REPLACE FUNCTION add_line() RETURNS trigger LANGUAGE plpgsql AS
	'BEGIN INSERT INTO order_lines VALUES (NEW.id, NEW.sku); RETURN NULL; END';
DROP TRIGGER IF EXISTS lines ON orders;
CREATE TRIGGER lines AFTER INSERT ON orders FOR EACH ROW EXECUTE FUNCTION add_line();`

// realistic holds a row for each step of the parts beyond Classic, in partitions
// of which one is made now and then.
const realistic = `
CREATE SEQUENCE IF NOT EXISTS steps_seq;
CREATE TABLE IF NOT EXISTS steps (op uuid, n int, kind text NOT NULL, night int DEFAULT 0, seq bigint NOT NULL DEFAULT nextval('steps_seq'),
	PRIMARY KEY (op, n, night)) PARTITION BY LIST (night);
CREATE INDEX IF NOT EXISTS steps_by_seq ON steps (seq);
CREATE TABLE IF NOT EXISTS steps_0 PARTITION OF steps FOR VALUES IN (0);`

// Shop makes the tables, the first rows and the bucket, and fills up to
// PayloadBytes. It may be repeated: what is there stays as it is. SKU s has two
// rows, s on the shelf and -s sold, so that orders move stock and keep its sum.
func Shop(ctx context.Context, p stores.Platform, o Options) error {
	if err := p.Validate(); err != nil {
		return err
	}

	if o.Accounts <= 0 {
		o.Accounts = 1000
	}

	if o.SKUs <= 0 {
		o.SKUs = 1000
	}
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(4)

	for i, in := range p.Postgres {
		g.Go(func() error { return setupShard(gctx, in, o, uint64(i)) })
	}

	if p.HasMedia() {
		g.Go(func() error { return setupBucket(gctx, p.Media) })
	}

	return g.Wait()
}

func setupShard(ctx context.Context, in targets.Instance, o Options, seed uint64) error {
	c, err := stores.Connect(ctx, in)
	if err != nil {
		return err
	}
	defer c.Close(context.WithoutCancel(ctx))

	err = pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		// Two set-ups at once would collide in the catalogue.
		if _, err := tx.Exec(ctx, "SELECT pg_advisory_xact_lock(hashtextextended('shop/setup', 0))"); err != nil {
			return err
		}

		if _, err := tx.Exec(ctx, schema); err != nil {
			return err
		}

		var made bool
		if err := tx.QueryRow(ctx, "SELECT EXISTS (SELECT FROM meta WHERE name = 'balance')").Scan(&made); err != nil || made {
			return err
		}
		_, err := tx.Exec(ctx, fmt.Sprintf(`
INSERT INTO accounts SELECT i, %d FROM generate_series(1, %d) i;
INSERT INTO stock SELECT i, %d FROM generate_series(1, %d) i;
INSERT INTO stock SELECT -i, 0 FROM generate_series(1, %d) i;
INSERT INTO meta SELECT 'balance', sum(balance) FROM accounts;
INSERT INTO meta SELECT 'stock', sum(qty) FROM stock;`, stores.StartBalance, o.Accounts, stores.StartQty, o.SKUs, o.SKUs))

		return err
	})
	if err == nil && o.Realistic {
		err = setupRealistic(ctx, c, in)
	}

	if err != nil {
		return stores.Failure("shop: set up", in, err)
	}

	return stores.Failure("shop: fill", in, fill(ctx, c, o.PayloadBytes, seed))
}

func setupRealistic(ctx context.Context, c *pgx.Conn, in targets.Instance) error {
	if _, err := c.Exec(ctx, realistic); err != nil {
		return err
	}
	name := stores.Ledger(in).Database

	var made bool
	if err := c.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", name).Scan(&made); err != nil {
		return err
	}

	if !made {
		if _, err := c.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
			return err
		}
	}

	ledger, err := stores.Connect(ctx, stores.Ledger(in))
	if err != nil {
		return err
	}
	defer ledger.Close(context.WithoutCancel(ctx))

	_, err = ledger.Exec(ctx, realistic)

	return err
}

// fill adds rows of text that hardly compresses until there are want
// characters. Each batch is a transaction, so a repeat goes on where it ended.
func fill(ctx context.Context, c *pgx.Conn, want int64, seed uint64) error {
	var rows int64
	if err := c.QueryRow(ctx, "SELECT coalesce(max(id), 0) FROM filler").Scan(&rows); err != nil {
		return err
	}
	rng := rand.NewChaCha8([32]byte{byte(seed), byte(rows), byte(rows >> 8), byte(rows >> 16), byte(rows >> 24)})
	raw := make([]byte, fillerRow*3/4)

	total := (want + fillerRow - 1) / fillerRow
	for rows < total {
		end := min(rows+fillerBatch, total)

		_, err := c.CopyFrom(ctx, pgx.Identifier{"filler"}, []string{"id", "data"}, pgx.CopyFromFunc(func() ([]any, error) {
			if rows >= end {
				return nil, nil
			}

			rows++
			_, _ = rng.Read(raw) // never fails

			return []any{rows, base64.StdEncoding.EncodeToString(raw)}, nil
		}))
		if err != nil {
			return err
		}
	}

	return nil
}

func setupBucket(ctx context.Context, in targets.Instance) error {
	_, err := stores.OpenMedia(in, 3).CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &in.Database})
	var owned *types.BucketAlreadyOwnedByYou

	var exists *types.BucketAlreadyExists
	if err == nil || errors.As(err, &owned) || errors.As(err, &exists) {
		return nil
	}

	if _, herr := stores.OpenMedia(in, 3).HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &in.Database}); herr == nil {
		return nil
	}

	return fail.New(fail.Unavailable, "shop: set up", in.String(), "make the bucket by hand if this user may not", err)
}
