package lab

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"
)

// client is one customer. It owns the accounts, items and carts whose number
// is its own modulo the number of clients, so that clients never wait for each
// other's rows: two transfers that do, on two shards in opposite order, would
// deadlock unseen.
type client struct {
	t    *traffic
	n    int
	rnd  *rand.Rand
	pg   []*conn
	gate *conn
	red  []*redis.Client
	seqs map[int]int64 // of carts; absent: ask the server
}

const cartsPerClient = 8

func newClient(t *traffic, n int) *client {
	return &client{t: t, n: n, rnd: t.random(n), pg: make([]*conn, len(t.opt.Platform.Orders)),
		red: make([]*redis.Client, len(t.opt.Platform.Carts)), seqs: map[int]int64{}}
}

// run does operations at its share of the rate until ctx ends.
func (c *client) run(ctx context.Context) {
	defer c.close()
	every := time.Duration(float64(c.t.opt.Clients) / c.t.opt.Rate * float64(time.Second))
	next := time.Now().Add(time.Duration(c.rnd.Int64N(int64(every) + 1)))
	for ctx.Err() == nil {
		if wait := time.Until(next); wait > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait):
			}
		} else if wait < -time.Second {
			next = time.Now() // a backlog is not made up for later
		}
		next = next.Add(time.Duration((0.5 + c.rnd.Float64()) * float64(every)))
		// An operation that has begun is finished even when the run ends.
		octx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.t.opt.OpTimeout)
		ok := c.one(octx)
		cancel()
		if !ok {
			select { // a dead server is not hammered
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}
}

// one does one operation at random and reports whether it was acknowledged.
func (c *client) one(ctx context.Context) bool {
	p := c.rnd.IntN(100)
	switch {
	case p < 25 && len(c.red) > 0:
		return c.cart(ctx)
	case p < 30 && c.t.media != nil:
		return c.image(ctx)
	case p < 55 || len(c.pg) < 2:
		return c.order(ctx)
	}
	return c.transfer(ctx)
}

func (c *client) close() {
	for _, pc := range append(c.pg, c.gate) {
		if pc != nil {
			closeConn(pc)
		}
	}
	for _, r := range c.red {
		if r != nil {
			_ = r.Close()
		}
	}
}

// shard returns the session on a PostgreSQL shard, opening it when needed.
func (c *client) shard(ctx context.Context, i int) (*conn, error) {
	if c.pg[i] != nil && !c.pg[i].IsClosed() {
		return c.pg[i], nil
	}
	pc, err := dial(ctx, c.t.opt.Platform.Orders[i], "shop")
	if err != nil {
		return nil, err
	}
	// Only a fence can be in the way, and it yields long before.
	if err := pc.exec(ctx, "SET lock_timeout = '5s'"); err != nil {
		closeConn(pc)
		return nil, err
	}
	c.pg[i] = pc
	return pc, nil
}

// account and item pick rows of this client's own.
func (c *client) account() int { return c.own(c.t.limits.accounts) }
func (c *client) item() int    { return c.own(c.t.limits.items) }

func (c *client) own(total int) int {
	per := total / c.t.opt.Clients
	return 1 + c.n + c.t.opt.Clients*c.rnd.IntN(per)
}

// id makes a random UUID from the client's own source.
func (c *client) id() uuid.UUID {
	var b [16]byte
	for i := 0; i < 16; i += 8 {
		v := c.rnd.Uint64()
		for k := range 8 {
			b[i+k] = byte(v >> (8 * k))
		}
	}
	// The seed may be reused on the same shop, so time is mixed in.
	now := time.Now().UnixNano()
	for k := range 6 {
		b[k] ^= byte(now >> (8 * k))
	}
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return uuid.UUID(b)
}

// order moves money and goods within one shard, in one transaction.
func (c *client) order(ctx context.Context) bool {
	i := c.rnd.IntN(len(c.pg))
	r := Record{ID: c.id().String(), Kind: Order, Shards: []int{i}, Begin: time.Now().UnixNano()}
	amount, qty, a, s := 1+c.rnd.Int64N(20), 1+c.rnd.Int64N(3), c.account(), c.item()
	sql := fmt.Sprintf("BEGIN;UPDATE accounts SET balance = balance - %d WHERE id = %d;UPDATE accounts SET balance = balance + %[1]d WHERE id = %d;"+
		"UPDATE stock SET qty = qty - %d WHERE sku = %d;UPDATE stock SET qty = qty + %[4]d WHERE sku = %[6]d;"+
		"INSERT INTO orders (id, account, sku, qty, amount) VALUES ('%[7]s', %[2]d, %[5]d, %[4]d, %[1]d)",
		amount, a, c.account(), qty, s, c.item(), r.ID)
	return c.single(ctx, i, r, sql)
}

// single runs a transaction on one shard: everything but the COMMIT, then the COMMIT.
func (c *client) single(ctx context.Context, i int, r Record, sql string) bool {
	r.Outcome = Failed
	pc, err := c.shard(ctx, i)
	if err == nil {
		err = pc.exec(ctx, sql)
	}
	if err == nil {
		r.Commit, r.Outcome = time.Now().UnixNano(), Unknown
		if err = pc.exec(ctx, "COMMIT"); err == nil {
			r.Ack, r.Outcome = time.Now().UnixNano(), Acked
		} else if refused(err) {
			r.Outcome = Failed
		}
	}
	if err != nil {
		c.rollback(ctx, pc)
	}
	c.t.finish(r, err)
	return err == nil
}

// rollback ends a transaction; a session that cannot is dropped.
func (c *client) rollback(ctx context.Context, pc *conn) {
	if pc == nil || pc.IsClosed() {
		return
	}
	if err := pc.exec(ctx, "ROLLBACK"); err != nil {
		closeConn(pc)
	}
}

// refused reports that the server itself said no: the transaction is over and
// undone. Anything else, a lost connection above all, tells nothing.
func refused(err error) bool {
	var pe *pgconn.PgError
	// Class 57 is the server going away, in the middle of whatever it did.
	return errors.As(err, &pe) && pe.Code[:2] != "57"
}

// image stores an object and then the row that names it.
func (c *client) image(ctx context.Context) bool {
	i := c.rnd.IntN(len(c.pg))
	r := Record{ID: c.id().String(), Kind: Image, Shards: []int{i}, Begin: time.Now().UnixNano()}
	body := make([]byte, 1+c.rnd.IntN(c.t.opt.ImageBytes))
	for k := range body {
		body[k] = byte(c.rnd.Uint32())
	}
	sum := sha256.Sum256(body)
	r.SHA256 = hex.EncodeToString(sum[:])
	r.Key = "images/" + r.SHA256[:2] + "/" + r.SHA256 + ".bin"
	_, err := c.t.media.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(c.t.opt.Platform.Media.Database), Key: aws.String(r.Key),
		Body: bytes.NewReader(body), ContentType: aws.String("application/octet-stream"), Metadata: map[string]string{"op": r.ID}})
	if err != nil {
		r.Outcome = Failed
		c.t.finish(r, err)
		return false
	}
	return c.single(ctx, i, r, fmt.Sprintf("BEGIN;INSERT INTO product_images (key, sha256, size, op) VALUES ('%s', '%s', %d, '%s')",
		r.Key, r.SHA256, len(body), r.ID))
}

// cart writes one cart in Redis: its number and its contents in one command,
// so that no cut can fall between them.
func (c *client) cart(ctx context.Context) bool {
	i := c.rnd.IntN(len(c.red))
	// Carts are numbered so that each belongs to one client and one shard.
	n := (c.n*cartsPerClient+c.rnd.IntN(cartsPerClient))*len(c.red) + i
	r := Record{ID: c.id().String(), Kind: Cart, Shards: []int{i}, Cart: n, Begin: time.Now().UnixNano(), Outcome: Failed}
	if c.red[i] == nil {
		in := c.t.opt.Platform.Carts[i]
		c.red[i] = redisClient(in)
	}
	key := cartKey(n)
	seq, known := c.seqs[n]
	if !known {
		var err error
		seq, err = c.red[i].HGet(ctx, key, "seq").Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			c.t.finish(r, err)
			return false
		}
	}
	r.Seq = seq + 1
	item := fmt.Sprintf("item:%d", 1+c.rnd.IntN(20))
	qty := c.rnd.IntN(9)
	r.Commit, r.Outcome = time.Now().UnixNano(), Unknown
	err := c.red[i].HSet(ctx, key, "seq", r.Seq, item, qty, "check", cartCheck(n, r.Seq)).Err()
	if err != nil {
		delete(c.seqs, n)
		var re redis.Error
		if errors.As(err, &re) {
			r.Outcome = Failed
		}
	} else {
		c.seqs[n], r.Ack, r.Outcome = r.Seq, time.Now().UnixNano(), Acked
	}
	c.t.finish(r, err)
	return err == nil
}

func cartKey(n int) string { return fmt.Sprintf("cart:%d", n) }

// cartCheck ties a cart's contents to its number.
func cartCheck(n int, seq int64) string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%d/%d", n, seq))
	return hex.EncodeToString(sum[:8])
}
