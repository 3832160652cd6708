package shop

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/lab/shop/transfer"
	"drctl/internal/retry"
)

// choice makes a record one of a kind, and returns what to do for it.
type choice func(*journal.Record) func(context.Context, *journal.Record) error

// do makes the operation that is chosen, and journals it.
func (c *client) do(ctx context.Context, choose choice) (*journal.Record, error) {
	rec := &journal.Record{ID: uuid.NewString(), BeginNS: time.Now().UnixNano(), Status: journal.Begun}

	err := c.patiently(ctx, rec, choose(rec))
	if err != nil {
		if rec.Reason = stores.Reason(err); errors.Is(err, errDied) {
			rec.Reason = journal.Died
		}

		if rec.Status == journal.Begun { // no commit was sent
			rec.Status = journal.Failed
		}
	} else {
		rec.Status, rec.AckNS = journal.Acked, time.Now().UnixNano()
	}

	if jerr := c.journal.Write(rec); err == nil {
		err = jerr
	}

	return rec, err
}

// choose picks an operation. Of 100, a third are of the parts beyond Classic, if any
// of those is on; of the others, 55 transfers, 22 orders, 20 cart changes,
// 3 images; what the platform has no store for becomes an order.
func (c *client) choose(rec *journal.Record) func(context.Context, *journal.Record) error {
	if len(c.often) > 0 && c.rng.IntN(3) == 0 {
		return c.often[c.rng.IntN(len(c.often))](c, rec)
	}

	dice := c.rng.IntN(100)
	switch {
	case dice < 55 && len(c.Postgres) > 1:
		rec.Kind, rec.Style = journal.KindMoney, c.Style
		if c.rng.IntN(2) == 0 {
			rec.Kind = journal.KindStock
		}

		if c.Style == Mix {
			rec.Style = [2]string{TwoPhase, Plain}[c.rng.IntN(2)]
		}
		a := c.rng.IntN(len(c.Postgres))
		b := (a + 1 + c.rng.IntN(len(c.Postgres)-1)) % len(c.Postgres)
		rec.Shards, rec.Rows = []int{a, b}, []int{c.row(), c.row()}
		rec.Amount, rec.Gate = int64(1+c.rng.IntN(20)), c.Gate

		return c.transfer
	case dice >= 97 && c.media != nil:
		rec.Kind, rec.Shards = journal.KindImage, []int{c.rng.IntN(len(c.Postgres))}
		return c.image
	case dice >= 77 && dice < 97 && len(c.redis) > 0:
		return c.someCart(rec)
	}
	rec.Kind, rec.Shards, rec.Rows = journal.KindOrder, []int{c.rng.IntN(len(c.Postgres))}, []int{c.row()}

	return c.order
}

func (c *client) someCart(rec *journal.Record) func(context.Context, *journal.Record) error {
	rec.Kind, rec.Cart = journal.KindCart, 1+c.lane*cartsPerClient+c.rng.IntN(cartsPerClient)
	return c.cart
}

// conn returns the client's connection to a shard.
func (c *client) conn(ctx context.Context, shard int) (*pgx.Conn, error) {
	return stores.Ready(ctx, c.Postgres[shard], &c.conns[shard])
}

// holdGate holds the group's gate, if the traffic wants it, until it is released
// after the last commit.
func (c *client) holdGate(ctx context.Context) (release func(), err error) {
	if !c.Gate {
		return func() {}, nil
	}

	gate, err := stores.Ready(ctx, c.Postgres[c.Platform.Gate], &c.gate)
	if err != nil {
		return nil, err
	}

	if err := stores.Run(ctx, gate, "SELECT 1", "BEGIN; SELECT pg_advisory_xact_lock_shared(hashtextextended('"+stores.Text(c.GateKey())+"', 0))"); err != nil {
		stores.Discard(ctx, gate)
		return nil, err
	}

	return func() { stores.Discard(ctx, gate) }, nil
}

// transfer moves money or stock between two shards, written in random order.
func (c *client) transfer(ctx context.Context, rec *journal.Record) (err error) {
	release, err := c.holdGate(ctx)
	if err != nil {
		return err
	}
	defer release()

	order := [2]int{0, 1}
	if c.rng.IntN(2) == 1 {
		order = [2]int{1, 0}
	}

	var conns [2]*pgx.Conn
	defer func() {
		if err != nil {
			stores.Discard(ctx, conns[0])
			stores.Discard(ctx, conns[1])
		}
	}()

	for n, shard := range rec.Shards {
		c.add(rec, journal.Step{Shard: shard, Tag: c.tag(rec.ID, n, 2, true)})
	}

	for _, n := range order {
		err = c.waits(ctx, c.open(conns[:]), func() (err error) {
			if conns[n], err = c.conn(ctx, rec.Shards[n]); err != nil {
				return err
			}

			return stores.Run(ctx, conns[n], "INSERT 0 1", "BEGIN; "+statement(rec.Steps[n])+transfer.SQL(rec, n))
		})
		if err != nil {
			return err
		}
	}

	if rec.Style == TwoPhase {
		err = c.prepareBoth(ctx, rec, conns, order)
	}

	if err == nil {
		err = c.commitBoth(ctx, rec, conns, order)
	}

	return err
}

// commitBoth commits the second whatever became of the first: half a transfer is
// the worst outcome, and only the resolver may decide against it.
func (c *client) commitBoth(ctx context.Context, rec *journal.Record, conns [2]*pgx.Conn, order [2]int) (err error) {
	for _, n := range order {
		tag, sql := "COMMIT", "COMMIT"
		if rec.Style == TwoPhase {
			tag, sql = "COMMIT PREPARED", "COMMIT PREPARED '"+transfer.GID(rec.ID, n)+"'"
		}

		if e := c.commit(ctx, conns[n], rec, n, tag, sql); e != nil && err == nil {
			err = e
		}
	}

	if err != nil && (rec.CommitNS > 0 || rec.Style == TwoPhase) {
		c.doubt.Add(rec)
	}

	return err
}

func (c *client) prepareBoth(ctx context.Context, rec *journal.Record, conns [2]*pgx.Conn, order [2]int) error {
	// Journaled before the first PREPARE, so that what is left prepared is known.
	if err := c.journal.Write(rec); err != nil {
		return err
	}

	for _, n := range order {
		if err := c.prepare(ctx, conns[n], rec, n); err != nil {
			c.doubt.Add(rec)
			return err
		}
	}

	return nil
}

// order sells one piece: it moves from the shelf's row to the sold row. The
// shelf is written first and the order a few milliseconds later, as a program
// does that works something out in between, and in the reverse order of the
// tables' names: a cut that locks tables one after the other meets it half way.
func (c *client) order(ctx context.Context, rec *journal.Record) (err error) {
	conn, err := c.conn(ctx, rec.Shards[0])
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			stores.Discard(ctx, conn)
		}
	}()
	sku, n := rec.Rows[0], c.add(rec, journal.Step{Shard: rec.Shards[0]})

	err = stores.Run(ctx, conn, "UPDATE 1", fmt.Sprintf("BEGIN; UPDATE stock SET qty = qty - 1 WHERE sku = %d; UPDATE stock SET qty = qty + 1 WHERE sku = %d", sku, -sku))
	if err != nil {
		return err
	}

	_ = retry.Sleep(ctx, time.Duration(1+c.rng.IntN(5))*time.Millisecond)

	err = stores.Run(ctx, conn, "INSERT 0 1", fmt.Sprintf("INSERT INTO orders VALUES ('%s', %d, %d, now())", rec.ID, c.row(), sku))
	if err != nil {
		return err
	}

	return c.commit(ctx, conn, rec, n, "COMMIT", "COMMIT")
}

// cart changes a cart's contents and its sequence number in one MULTI.
func (c *client) cart(ctx context.Context, rec *journal.Record) error {
	rdb := c.redis[(rec.Cart-1)%len(c.redis)]

	last, known := c.carts[rec.Cart]
	if !known {
		// The journal and the store can each be ahead of the other.
		err := c.again(ctx, func() error {
			n, err := rdb.Get(ctx, stores.CartKey(rec.Cart)+":seq").Int64()
			last = max(n, c.seqs[rec.Cart])

			return err
		})
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
	}
	rec.Seq = last + 1

	c.carts[rec.Cart] = rec.Seq // used up, whatever becomes of it
	at := c.add(rec, journal.Step{Shard: (rec.Cart - 1) % len(c.redis), Redis: true})

	if err := c.begin(rec, at); err != nil {
		return err
	}

	var before, after *redis.StringCmd
	sku, pieces := 1+c.rng.IntN(20), 1+c.rng.IntN(5)
	tries, nothing := 0, true

	err := c.again(ctx, func() (err error) {
		before, after, err = change(ctx, rdb, rec, sku, pieces)
		tries, nothing = tries+1, nothing && nothingDone(err)

		return err
	})

	// Which of several tries was the one, nobody knows.
	if low, high := stores.Offset(before), stores.Offset(after); high > low && tries == 1 {
		rec.Steps[at].Committed = &journal.Bounds{Low: low, High: high}
	}

	switch {
	case err == nil:
		c.acknowledged(rec, at)
	case nothing:
		rec.Status = journal.Failed
	}

	return err
}

// errNoAnswer: EXEC was not answered.
var errNoAnswer = errors.New("the master did not answer")

// nothingDone says that an error came before anything was done: MULTI is all or nothing.
func nothingDone(err error) bool {
	var refused redis.Error

	var dial *net.OpError

	return errors.As(err, &refused) || errors.As(err, &dial) && dial.Op == "dial"
}

// change writes a cart, and asks its master before and after it how far it has
// come, in one round trip. What is asked is no part of what may fail.
func change(ctx context.Context, rdb *redis.Client, rec *journal.Record, sku, pieces int) (before, after *redis.StringCmd, err error) {
	line := rdb.Pipeline()
	before = line.Info(ctx, "replication")
	line.Do(ctx, "MULTI")
	line.Do(ctx, "HSET", stores.CartKey(rec.Cart), "seq", rec.Seq, "sku:"+strconv.Itoa(sku), pieces)
	line.Do(ctx, "SET", stores.CartKey(rec.Cart)+":seq", rec.Seq)
	exec := line.Do(ctx, "EXEC")
	after = line.Info(ctx, "replication")
	_, lerr := line.Exec(ctx) // each has its own answer

	// But none has one, and no error either, when there was no connection.
	if exec.Err() == nil && exec.Val() == nil {
		return before, after, errors.Join(errNoAnswer, lerr)
	}

	return before, after, exec.Err()
}

// image puts random bytes and then the row that names them.
func (c *client) image(ctx context.Context, rec *journal.Record) (err error) {
	body := make([]byte, 1<<10+c.rng.IntN(7<<10))
	for i := range body {
		body[i] = byte(c.rng.Uint32())
	}
	sum := sha256.Sum256(body)
	rec.SHA, rec.Size = hex.EncodeToString(sum[:]), int64(len(body))
	rec.Key = c.Media.Prefix + "img/" + rec.SHA

	_, err = c.media.PutObject(ctx, &s3.PutObjectInput{Bucket: &c.Media.Database, Key: &rec.Key, Body: bytes.NewReader(body)})
	if err != nil {
		return err
	}

	conn, err := c.conn(ctx, rec.Shards[0])
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			stores.Discard(ctx, conn)
		}
	}()
	n := c.add(rec, journal.Step{Shard: rec.Shards[0]})

	if err = stores.Run(ctx, conn, "INSERT 0 1", fmt.Sprintf("BEGIN; INSERT INTO product_images VALUES ('%s', '%s', %d)", stores.Text(rec.Key), rec.SHA, rec.Size)); err != nil {
		return err
	}

	return c.commit(ctx, conn, rec, n, "COMMIT", "COMMIT")
}
