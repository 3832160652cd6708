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
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/redis/go-redis/v9"

	"drctl/internal/retry"
)

// errNotCommitted: the server answered COMMIT or PREPARE with ROLLBACK.
var errNotCommitted = errors.New("the server rolled the transaction back")

// operate makes one operation and journals it.
func (c *client) operate(ctx context.Context) (*Record, error) {
	rec := &Record{ID: uuid.NewString(), BeginNS: time.Now().UnixNano(), Status: Begun}

	err := c.choose(rec)(ctx, rec)
	if err != nil {
		rec.Reason = reason(err)
		if rec.Status == Begun { // no commit was sent
			rec.Status = Failed
		}
	} else {
		rec.Status, rec.AckNS = Acked, time.Now().UnixNano()
	}

	if jerr := c.journal.write(rec); err == nil {
		err = jerr
	}

	return rec, err
}

// choose picks an operation: of 100, 55 transfers, 22 orders, 20 cart changes,
// 3 images; what the platform has no store for becomes an order.
func (c *client) choose(rec *Record) func(context.Context, *Record) error {
	dice := c.rng.IntN(100)
	switch {
	case dice < 55 && len(c.Postgres) > 1:
		rec.Kind, rec.Style = KindMoney, c.Style
		if c.rng.IntN(2) == 0 {
			rec.Kind = KindStock
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
		rec.Kind, rec.Shards = KindImage, []int{c.rng.IntN(len(c.Postgres))}
		return c.image
	case dice >= 77 && dice < 97 && len(c.redis) > 0:
		rec.Kind, rec.Cart = KindCart, 1+c.lane*cartsPerClient+c.rng.IntN(cartsPerClient)
		return c.cart
	}
	rec.Kind, rec.Shards, rec.Rows = KindOrder, []int{c.rng.IntN(len(c.Postgres))}, []int{c.row()}

	return c.order
}

// begin journals that the commit is about to be sent.
func (c *client) begin(rec *Record) error {
	rec.CommitNS = time.Now().UnixNano()
	if err := c.journal.write(rec); err != nil {
		rec.CommitNS = 0
		return err
	}
	rec.Status = Unknown // until the answer is in

	return nil
}

// conn returns the client's connection to a shard.
func (c *client) conn(ctx context.Context, shard int) (*pgx.Conn, error) {
	return ready(ctx, c.Platform, shard, &c.conns[shard])
}

func ready(ctx context.Context, p Platform, shard int, at **pgx.Conn) (*pgx.Conn, error) {
	if *at != nil && !(*at).IsClosed() {
		return *at, nil
	}

	conn, err := connectPostgres(ctx, p.Postgres[shard])
	if err != nil {
		return nil, err
	}
	*at = conn

	return conn, nil
}

// run sends statements in one round trip and checks the last one's answer.
func run(ctx context.Context, conn *pgx.Conn, tag, sql string) error {
	res, err := conn.PgConn().Exec(ctx, sql).ReadAll()
	if err != nil {
		return err
	}

	if got := res[len(res)-1].CommandTag.String(); got != tag {
		return fmt.Errorf("%w: answered %s, not %s", errNotCommitted, got, tag)
	}

	return nil
}

// discard ends what is open on a connection after a failure.
func discard(ctx context.Context, conn *pgx.Conn) {
	if conn == nil || conn.IsClosed() || conn.PgConn().TxStatus() == 'I' {
		return
	}

	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()

	if run(ctx, conn, "ROLLBACK", "ROLLBACK") != nil {
		_ = conn.Close(ctx)
	}
}

// leg is the SQL of one half of a transfer.
func (r *Record) leg(n int) string {
	amount := r.Amount
	if n == 0 {
		amount = -amount
	}

	table, key, value := "accounts", "id", "balance"
	if r.Kind == KindStock {
		table, key, value = "stock", "sku", "qty"
	}

	return fmt.Sprintf("UPDATE %[1]s SET %[3]s = %[3]s + (%[4]d) WHERE %[2]s = %[5]d; INSERT INTO transfers VALUES ('%[6]s', %[7]d, %[4]d, '%[8]s')",
		table, key, value, amount, r.Rows[n], r.ID, n, r.Kind)
}

func gid(id string, leg int) string { return fmt.Sprintf("shop-%s-%d", id, leg) }

// transfer moves money or stock between two shards, written in random order.
func (c *client) transfer(ctx context.Context, rec *Record) (err error) {
	if c.Gate {
		gate, err := ready(ctx, c.Platform, c.Platform.Gate, &c.gate)
		if err != nil {
			return err
		}
		defer discard(ctx, gate) // ends the gate's transaction after the last commit

		if err := run(ctx, gate, "SELECT 1", "BEGIN; SELECT pg_advisory_xact_lock_shared(hashtextextended('"+sqlText(c.gateKey())+"', 0))"); err != nil {
			return err
		}
	}

	order := [2]int{0, 1}
	if c.rng.IntN(2) == 1 {
		order = [2]int{1, 0}
	}

	var conns [2]*pgx.Conn
	defer func() {
		if err != nil {
			discard(ctx, conns[0])
			discard(ctx, conns[1])
		}
	}()

	for _, n := range order {
		if conns[n], err = c.conn(ctx, rec.Shards[n]); err != nil {
			return err
		}

		if err = run(ctx, conns[n], "INSERT 0 1", "BEGIN; "+rec.leg(n)); err != nil {
			return err
		}
	}

	if rec.Style == TwoPhase {
		err = c.commitTwoPhase(ctx, rec, conns, order)
	} else {
		err = c.commitPlain(ctx, rec, conns, order)
	}

	return err
}

func (c *client) commitPlain(ctx context.Context, rec *Record, conns [2]*pgx.Conn, order [2]int) error {
	if err := c.begin(rec); err != nil {
		return err
	}
	// The second is committed whatever became of the first: half a transfer is
	// the worst outcome, and only the resolver may decide against it.
	var first error
	for _, n := range order {
		if err := run(ctx, conns[n], "COMMIT", "COMMIT"); err != nil && first == nil {
			first = err
		}
	}

	if first != nil {
		c.doubt.add(rec)
	}

	return first
}

func (c *client) commitTwoPhase(ctx context.Context, rec *Record, conns [2]*pgx.Conn, order [2]int) error {
	// Journaled before the first PREPARE, so that what is left prepared is known.
	if err := c.journal.write(rec); err != nil {
		return err
	}

	for _, n := range order {
		if err := run(ctx, conns[n], "PREPARE TRANSACTION", "PREPARE TRANSACTION '"+gid(rec.ID, n)+"'"); err != nil {
			c.doubt.add(rec)
			return err
		}
	}

	if err := c.begin(rec); err != nil {
		c.doubt.add(rec)
		return err
	}

	var first error
	for _, n := range order {
		if err := run(ctx, conns[n], "COMMIT PREPARED", "COMMIT PREPARED '"+gid(rec.ID, n)+"'"); err != nil && first == nil {
			first = err
		}
	}

	if first != nil {
		c.doubt.add(rec)
	}

	return first
}

// order sells one piece: it moves from the shelf's row to the sold row. The
// shelf is written first and the order a few milliseconds later, as a program
// does that works something out in between, and in the reverse order of the
// tables' names: a cut that locks tables one after the other meets it half way.
func (c *client) order(ctx context.Context, rec *Record) (err error) {
	conn, err := c.conn(ctx, rec.Shards[0])
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			discard(ctx, conn)
		}
	}()
	sku := rec.Rows[0]

	err = run(ctx, conn, "UPDATE 1", fmt.Sprintf("BEGIN; UPDATE stock SET qty = qty - 1 WHERE sku = %d; UPDATE stock SET qty = qty + 1 WHERE sku = %d", sku, -sku))
	if err != nil {
		return err
	}

	_ = retry.Sleep(ctx, time.Duration(1+c.rng.IntN(5))*time.Millisecond)

	err = run(ctx, conn, "INSERT 0 1", fmt.Sprintf("INSERT INTO orders VALUES ('%s', %d, %d, now())", rec.ID, c.row(), sku))
	if err != nil {
		return err
	}

	if err := c.begin(rec); err != nil {
		return err
	}

	return run(ctx, conn, "COMMIT", "COMMIT")
}

func cartKey(n int) string { return "cart:" + strconv.Itoa(n) }

// cart changes a cart's contents and its sequence number in one MULTI.
func (c *client) cart(ctx context.Context, rec *Record) error {
	rdb := c.redis[(rec.Cart-1)%len(c.redis)]

	last, known := c.carts[rec.Cart]
	if !known {
		// The journal and the store can each be ahead of the other.
		n, err := rdb.Get(ctx, cartKey(rec.Cart)+":seq").Int64()
		if err != nil && !errors.Is(err, redis.Nil) {
			return err
		}
		last = max(n, c.seqs[rec.Cart])
	}
	rec.Seq = last + 1

	c.carts[rec.Cart] = rec.Seq // used up, whatever becomes of it
	if err := c.begin(rec); err != nil {
		return err
	}
	_, err := rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HSet(ctx, cartKey(rec.Cart), "seq", rec.Seq, "sku:"+strconv.Itoa(1+c.rng.IntN(20)), 1+c.rng.IntN(5))
		p.Set(ctx, cartKey(rec.Cart)+":seq", rec.Seq, 0)

		return nil
	})
	var refused redis.Error

	var dial *net.OpError
	if errors.As(err, &refused) || errors.As(err, &dial) && dial.Op == "dial" {
		rec.Status = Failed // MULTI is all or nothing, and nothing was done
	}

	return err
}

// image puts random bytes and then the row that names them.
func (c *client) image(ctx context.Context, rec *Record) error {
	body := make([]byte, 1<<10+c.rng.IntN(7<<10))
	for i := range body {
		body[i] = byte(c.rng.Uint32())
	}
	sum := sha256.Sum256(body)
	rec.SHA, rec.Size = hex.EncodeToString(sum[:]), int64(len(body))
	rec.Key = c.Media.Prefix + "img/" + rec.SHA

	_, err := c.media.PutObject(ctx, &s3.PutObjectInput{Bucket: &c.Media.Database, Key: &rec.Key, Body: bytes.NewReader(body)})
	if err != nil {
		return err
	}

	conn, err := c.conn(ctx, rec.Shards[0])
	if err != nil {
		return err
	}

	sql := fmt.Sprintf("INSERT INTO product_images VALUES ('%s', '%s', %d)", sqlText(rec.Key), rec.SHA, rec.Size)
	if err := c.begin(rec); err != nil {
		return err
	}
	err = run(ctx, conn, "INSERT 0 1", sql)

	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Severity == "ERROR" {
		rec.Status = Failed // the statement was its own transaction and was refused
	}

	return err
}

// sqlText escapes a text for a quoted SQL literal.
func sqlText(s string) string { return strings.ReplaceAll(s, "'", "''") }
