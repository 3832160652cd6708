package shop

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/retry"
	"drctl/targets"
)

// Pooled are the parts that work through a pooler in transaction mode. The others need a
// session of their own, hold a transaction open for longer than anybody may pause, or
// another database. Deaths work too, but for each a pooler makes a new connection to its
// server, and one that is paused meanwhile refuses clients.
var Pooled = []Part{Basics, Bookings, Chains, Sagas}

func throughPoolers(parts []Part) error {
	for _, p := range parts {
		if p != Deaths && !slices.Contains(Pooled, p) {
			return fail.Newf(fail.Invalid, "shop: traffic", string(p), "it does not work through a pooler in transaction mode; use pooled, or some of %v", Pooled)
		}
	}

	return nil
}

// errLetGo: another shard did not answer in time, and nothing was committed yet.
var errLetGo = errors.New("another shard did not answer in time")

// patiently begins an operation again that let go, with twice the patience each time: a
// platform that is slow is not paused.
func (c *client) patiently(ctx context.Context, rec *journal.Record, work func(context.Context, *journal.Record) error) error {
	c.patience = c.Patience

	for {
		err := work(ctx, rec)
		if !errors.Is(err, errLetGo) || ctx.Err() != nil {
			return err
		}

		c.meter.Again()

		c.patience *= 2
		rec.Steps = nil // nothing of it was committed or journaled
	}
}

// waits begins a local transaction. A client that has others open lets go of those when
// it takes long, so that what it waits for need not wait for it; then nothing is left of the
// operation but the wait.
func (c *client) waits(ctx context.Context, open []*pgx.Conn, begin func() error) error {
	if c.patience <= 0 || !slices.ContainsFunc(open, func(conn *pgx.Conn) bool { return conn != nil }) {
		return begin()
	}

	done := make(chan error, 1)
	go func() { done <- begin() }()

	limit := time.NewTimer(c.patience)
	defer limit.Stop()

	select {
	case err := <-done:
		return err
	case <-limit.C:
	}

	for _, conn := range open {
		stores.Discard(ctx, conn)
	}

	if err := <-done; err != nil {
		return err
	}

	return errLetGo
}

// open are the connections on which an operation has begun something.
func (c *client) open(conns []*pgx.Conn) []*pgx.Conn {
	if c.Gate {
		return append(slices.Clone(conns), c.gate)
	}

	return slices.Clone(conns)
}

// again repeats what may be repeated while a proxy moves to another server, as client
// libraries do: the same change of the same cart, which nobody else writes.
func (c *client) again(ctx context.Context, do func() error) error {
	err := do()
	for err != nil && c.Proxied && !errors.Is(err, redis.Nil) && retry.Sleep(ctx, 5*time.Millisecond) == nil {
		c.meter.Again()

		err = do()
	}

	return err
}

// pulses is how many customers write on one store each.
func (o TrafficOptions) pulses() int {
	if o.Pulse <= 0 {
		return 0
	}

	return len(o.Postgres) + len(o.Redis)
}

// pulse makes orders on one shard, or changes of a cart on one master.
func (c *client) pulse(store int) choice {
	return func(rec *journal.Record) func(context.Context, *journal.Record) error {
		if store < len(c.Postgres) {
			rec.Kind, rec.Shards, rec.Rows = journal.KindOrder, []int{store}, []int{c.row()}
			return c.order
		}

		master, masters := store-len(c.Postgres), len(c.Redis)
		first := c.lane * cartsPerClient

		rec.Kind = journal.KindCart
		rec.Cart = 1 + first + (master-first%masters+masters)%masters

		return c.cart
	}
}

func names(instances []targets.Instance) (out []string) {
	for _, in := range instances {
		out = append(out, in.Shard.String())
	}

	return out
}
