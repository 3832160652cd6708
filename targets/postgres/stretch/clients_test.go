package stretch_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/observation"
	"drctl/internal/proof/clock"
)

// An op is a local transaction as its client knows it, from outside.
type op struct {
	id         int64
	shard      int
	xid        uint32
	begun      clock.Instant
	acked      clock.Instant // 0: nobody was told that it was committed
	after      []int64       // what its client had read, or been told, before it was committed
	global     string        // the tag's id, or ""
	gid        string
	rolledBack bool
}

// journal is what all clients know.
type journal struct {
	observer *observation.Observer
	next     atomic.Int64
	board    [8]atomic.Int64 // operations that clients tell each other of
	dying    atomic.Int64    // how many global transactions may still be broken off
	blind    atomic.Int64    // servers of which no place is known yet that a look begins at

	mu   sync.Mutex
	ops  map[int64]*op
	dead map[string]bool // global transactions that were broken off, by tag
}

// enough reports whether there were clients, and some of them died.
func (j *journal) enough() bool {
	j.mu.Lock()
	defer j.mu.Unlock()

	return len(j.ops) >= 1000 && len(j.dead) > 0
}

func (j *journal) keep(o *op) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ops[o.id] = o
}

// client is one that hops between the shards.
type client struct {
	j       *journal
	servers []*server
	conns   []*pgx.Conn
	rnd     *rand.Rand
	last    int64 // the last operation of its own that was acknowledged
}

func (c *client) dial() (err error) {
	for _, conn := range c.conns {
		_ = conn.Close(context.Background())
	}

	c.conns = make([]*pgx.Conn, len(c.servers))
	for i, s := range c.servers {
		if c.conns[i], err = s.open(context.Background()); err != nil {
			return err
		}
	}

	return nil
}

// run works until the context ends; what is begun then is finished.
func (c *client) run(ctx context.Context) error {
	if err := c.dial(); err != nil {
		return err
	}

	for ctx.Err() == nil {
		if err := c.work(); err != nil {
			return err
		}

		c.pause(4)
	}

	for _, conn := range c.conns {
		_ = conn.Close(context.Background())
	}

	return nil
}

func (c *client) pause(most int) { time.Sleep(time.Duration(c.rnd.IntN(most*1000)) * time.Microsecond) }

func (c *client) exec(shard int, sql string, args ...any) error {
	_, err := c.conns[shard].Exec(context.Background(), sql, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}

	return nil
}

func (c *client) work() error {
	a := c.rnd.IntN(len(c.servers))
	b := (a + 1 + c.rnd.IntN(len(c.servers)-1)) % len(c.servers)

	switch n := c.rnd.IntN(100); {
	case n < 10:
		return c.tagged(a, b)
	case n < 18:
		return c.twoPhase(a, b)
	case n < 26:
		return c.single(a, "ROLLBACK")
	default:
		return c.single(a, "COMMIT")
	}
}

// begin opens a transaction that knows what its client knows.
func (c *client) begin(shard int) (*op, error) {
	o := &op{id: c.j.next.Add(1), shard: shard, begun: c.j.observer.Now()}
	o.after = append(o.after, c.last, c.j.board[c.rnd.IntN(len(c.j.board))].Load())

	return o, c.exec(shard, "BEGIN")
}

// write does what the transaction is for: a row into both tables, in either
// order, with the operation that it follows.
func (c *client) write(o *op) error {
	tables := []string{"a", "b"}
	c.rnd.Shuffle(2, func(i, j int) { tables[i], tables[j] = tables[j], tables[i] })

	for _, table := range tables {
		var read int64
		if err := c.conns[o.shard].QueryRow(context.Background(), "SELECT coalesce(max(op), 0) FROM "+table).Scan(&read); err != nil {
			return err
		}

		o.after = append(o.after, read)
		if err := c.exec(o.shard, "INSERT INTO "+table+" VALUES ($1, $2)", o.id, max(read, c.last)); err != nil {
			return err
		}

		if c.rnd.IntN(2) == 0 {
			c.pause(3)
		}
	}

	if c.rnd.IntN(6) == 0 {
		if err := c.subtransactions(o); err != nil {
			return err
		}
	}

	var xid uint64
	err := c.conns[o.shard].QueryRow(context.Background(), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid)
	o.xid = uint32(xid)

	return err
}

// subtransactions: one that is kept, and one with a tag that is rolled back with it.
func (c *client) subtransactions(o *op) error {
	for _, sql := range []string{"SAVEPOINT s", "INSERT INTO sub VALUES (1)", "RELEASE s",
		"SAVEPOINT s", "INSERT INTO sub VALUES (2)", tag(fmt.Sprintf("never-%d", o.id), 2), "ROLLBACK TO s"} {
		if err := c.exec(o.shard, sql); err != nil {
			return err
		}
	}

	return nil
}

// end commits or rolls back, in one phase or as the second.
func (c *client) end(o *op, sql string) error {
	o.rolledBack = strings.HasPrefix(sql, "ROLLBACK")
	c.j.keep(o)

	if err := c.exec(o.shard, sql); err != nil {
		return err
	}

	if !o.rolledBack {
		o.acked = c.j.observer.Now()
		c.last = o.id
		c.j.board[c.rnd.IntN(len(c.j.board))].Store(o.id)
	}

	return nil
}

func (c *client) single(shard int, end string) error {
	o, err := c.begin(shard)
	if err != nil {
		return err
	}

	if err := c.write(o); err != nil {
		return err
	}

	if c.rnd.IntN(8) == 0 { // one that means nothing
		if err := c.exec(shard, "SELECT pg_logical_emit_message(false, 'drctl/global', $1)", fmt.Sprintf("loose-%d/2", o.id)); err != nil {
			return err
		}
	}

	return c.end(o, end)
}

// both begins and writes on two shards.
func (c *client) both(a, b int, each func(*op) error) (ops []*op, err error) {
	for _, shard := range []int{a, b} {
		o, err := c.begin(shard)
		if err != nil {
			return nil, err
		}

		if err := each(o); err != nil {
			return nil, err
		}

		if err := c.write(o); err != nil {
			return nil, err
		}
		ops = append(ops, o)
	}

	return ops, nil
}

// dies reports whether the client is to die behind what it commits next: a few do, once a look can see that.
func (c *client) dies() bool {
	return c.rnd.IntN(20) == 0 && c.j.blind.Load() == 0 && c.j.dying.Add(-1) >= 0
}

func (c *client) tagged(a, b int) error {
	id := fmt.Sprintf("g%d", c.j.next.Add(1))
	dies := c.dies() // before anything is written: a look that begins behind the tag does not know of it

	ops, err := c.both(a, b, func(o *op) error {
		o.global = id
		return c.exec(o.shard, tag(id, 2))
	})
	if err != nil {
		if dies {
			c.j.dying.Add(1)
		}

		return err
	}

	if err := c.end(ops[0], "COMMIT"); err != nil {
		return err
	}

	if dies {
		c.j.mu.Lock()
		c.j.dead[id] = true
		c.j.mu.Unlock()

		ops[1].rolledBack = true
		c.j.keep(ops[1])

		return c.dial()
	}
	ops[1].after = append(ops[1].after, ops[0].id)

	return c.end(ops[1], "COMMIT")
}

// twoPhase prepares on both shards and commits on both, if it does not change its
// mind. A third of them are tagged as well.
func (c *client) twoPhase(a, b int) error {
	id := fmt.Sprintf("p%d", c.j.next.Add(1))
	tagged := c.rnd.IntN(3) == 0

	ops, err := c.both(a, b, func(o *op) error {
		o.gid = id

		if !tagged {
			return nil
		}
		o.global = id

		return c.exec(o.shard, tag(id, 2))
	})
	if err != nil {
		return err
	}

	for _, o := range ops {
		c.j.keep(o)

		if err := c.exec(o.shard, "PREPARE TRANSACTION '"+id+"'"); err != nil {
			return err
		}
	}

	verb := "COMMIT"
	if c.rnd.IntN(8) == 0 {
		verb = "ROLLBACK"
	}

	if err := c.end(ops[0], verb+" PREPARED '"+id+"'"); err != nil {
		return err
	}

	if verb == "COMMIT" && c.dies() {
		return c.dial()
	}

	return c.end(ops[1], verb+" PREPARED '"+id+"'")
}

func isEnd(err error) bool { return errors.Is(err, io.EOF) }
