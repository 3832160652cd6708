package shop

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/retry"
)

// errDied: the client was made to die, and its server rolls back what it left open.
var errDied = errors.New("the client died between two commits")

// longestBatch is how long a batch keeps its transaction open.
const longestBatch = 30 * time.Second

// jobs are what goes on beside the customers until ctx ends.
func (t *traffic) jobs() (jobs []func(context.Context)) {
	for _, j := range []struct {
		part  Part
		every time.Duration
		do    func(*client, context.Context)
	}{
		{Sagas, 2 * t.Saga, (*client).runSaga},
		{Deaths, t.Death, (*client).die},
		{Batches, 5 * time.Second, (*client).runBatch},
		{Vacuums, 3 * time.Second, (*client).vacuum},
		{Indexes, 5 * time.Second, (*client).index},
		{Nights, 10 * time.Second, (*client).nextNight},
	} {
		if !t.has(j.part) {
			continue
		}
		c := newClient(t, t.Clients+t.pulses()+len(jobs))

		jobs = append(jobs, func(ctx context.Context) {
			defer c.close()
			c.until = ctx

			for retry.Sleep(ctx, time.Duration(c.rng.Float64()*float64(j.every))) == nil {
				j.do(c, ctx)

				if retry.Sleep(ctx, j.every/2) != nil {
					return
				}
			}
		})
	}

	return jobs
}

// aside makes an operation that no customer waits for.
func (c *client) aside(ctx context.Context, most time.Duration, choose choice) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), most)
	defer cancel()

	rec, err := c.do(ctx, choose)
	c.meter.Count(rec)

	if err != nil {
		c.Log.Debug("shop: operation", "kind", rec.Kind, "status", rec.Status, "err", err)
	}
}

func (c *client) runSaga(ctx context.Context) {
	c.aside(ctx, c.Saga+stores.Timeout, func(rec *journal.Record) func(context.Context, *journal.Record) error {
		rec.Kind = journal.KindSaga
		return c.saga
	})
}

func (c *client) die(ctx context.Context) {
	if len(c.Postgres) < 2 {
		return
	}

	c.aside(ctx, stores.Timeout, func(rec *journal.Record) func(context.Context, *journal.Record) error {
		rec.Kind = journal.KindBooking
		return func(ctx context.Context, rec *journal.Record) error { return c.book(ctx, rec, true) }
	})
}

func (c *client) runBatch(ctx context.Context) {
	c.aside(ctx, longestBatch+stores.Timeout, func(rec *journal.Record) func(context.Context, *journal.Record) error {
		rec.Kind, rec.Shards = journal.KindBatch, []int{c.rng.IntN(len(c.Postgres))}
		return c.batch
	})
}

// batch writes a little five times a second, in one transaction. Its first row is
// the one that counts.
func (c *client) batch(ctx context.Context, rec *journal.Record) (err error) {
	n := c.add(rec, journal.Step{Shard: rec.Shards[0]})
	until, cancel := context.WithTimeout(c.until, longestBatch)
	defer cancel()

	conn, err := c.write(ctx, rec, n)
	defer func() {
		if err != nil {
			stores.Discard(ctx, conn)
		}
	}()

	for i := 1; err == nil && until.Err() == nil; i++ {
		err = stores.Run(ctx, conn, "INSERT 0 20", fmt.Sprintf("INSERT INTO steps (op, n, kind) SELECT '%s', -i, '%s' FROM generate_series(%d, %d) i",
			rec.ID, rec.Kind, 20*i, 20*i+19))
		_ = retry.Sleep(until, 200*time.Millisecond)
	}

	if err == nil {
		err = c.commit(ctx, conn, rec, n, "COMMIT", "COMMIT")
	}

	return err
}

// maintain does what an operator's job does on each shard, and waits for locks
// as long as it takes. It is given up when the traffic ends.
func (c *client) maintain(ctx context.Context, statements ...string) error {
	for shard := range c.Postgres {
		conn, err := c.conn(ctx, shard)
		if err != nil {
			return err
		}

		for _, sql := range append([]string{"SET lock_timeout = 0"}, statements...) {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
	}

	return nil
}

func (c *client) vacuum(ctx context.Context) {
	c.tell("vacuum", c.maintain(ctx, "VACUUM (ANALYZE) stock", "VACUUM accounts", "VACUUM orders"))
}

func (c *client) index(ctx context.Context) {
	c.tell("index", c.maintain(ctx, "DROP INDEX CONCURRENTLY IF EXISTS orders_by_sku", "CREATE INDEX CONCURRENTLY orders_by_sku ON orders (sku)"))
}

// nextNight makes a partition on every shard, in which all that follows is written.
func (c *client) nextNight(ctx context.Context) {
	night := time.Now().Unix() - 1_700_000_000

	name := pgx.Identifier{fmt.Sprintf("steps_%d", night)}.Sanitize()

	// Made aside and attached, because CREATE TABLE ... PARTITION OF would wait for
	// every batch, and let every customer wait behind it.
	err := c.maintain(ctx, "CREATE TABLE "+name+" (LIKE steps INCLUDING DEFAULTS)",
		fmt.Sprintf("ALTER TABLE steps ATTACH PARTITION %s FOR VALUES IN (%d)", name, night))
	if err == nil {
		c.night.Store(night)
	}

	c.tell("partition", err)
}

func (c *client) tell(what string, err error) {
	if err != nil {
		c.Log.Debug("shop: maintenance", "what", what, "err", err)
	}
}
