package moment_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/proof/clock"
	"drctl/targets"
)

// op is a transaction, or a write to Redis, as its client knows it.
type op struct {
	id     int64
	shard  int // -1 for Redis
	xid    uint32
	begun  clock.Instant
	acked  clock.Instant
	after  []int64
	global string
	gid    string
	from   uint64 // the write lies behind this place of the Redis stream,
	to     uint64 // and not behind this one
}

type journal struct {
	w    *world
	next atomic.Int64
	told atomic.Int64 // the last operation that somebody told the others of

	mu   sync.Mutex
	ops  map[int64]*op
	dead map[string]bool
}

type client struct {
	j     *journal
	conns []*pgx.Conn
	cache *goredis.Client
	rnd   *rand.Rand
	last  int64
}

// work lets clients work until the returned function is called.
func (w *world) work(t *testing.T, clients int) (*journal, func()) {
	t.Helper()
	j := &journal{w: w, ops: map[int64]*op{}, dead: map[string]bool{}}
	ctx, stop := context.WithCancel(t.Context())

	var done sync.WaitGroup
	for i := range clients {
		c := &client{j: j, cache: w.cache(), rnd: rand.New(rand.NewPCG(3, uint64(i)))}
		done.Go(func() {
			if err := c.run(ctx); err != nil {
				t.Error(err)
			}
		})
	}

	return j, func() { stop(); done.Wait() }
}

func (c *client) run(ctx context.Context) error {
	if err := c.dial(); err != nil {
		return err
	}

	for ctx.Err() == nil {
		var err error
		a := c.rnd.IntN(2)

		switch n := c.rnd.IntN(100); {
		case n < 10:
			err = c.tagged(a)
		case n < 18:
			err = c.twoPhase(a)
		case n < 35:
			err = c.write()
		default:
			var o *op
			if o, err = c.begin(a, "", ""); err == nil {
				err = c.end(o, "COMMIT")
			}
		}

		if err != nil {
			return err
		}

		c.pause(8)
	}

	return nil
}

func (c *client) dial() (err error) {
	for _, conn := range c.conns {
		_ = conn.Close(context.Background())
	}

	c.conns = make([]*pgx.Conn, 2)
	for i := range c.conns {
		if c.conns[i], err = c.j.w.open(c.j.w.pg[i]); err != nil {
			return err
		}
	}

	return nil
}

func (c *client) pause(ms int) { time.Sleep(time.Duration(c.rnd.IntN(ms*1000)) * time.Microsecond) }

func (c *client) exec(shard int, sql string) error {
	if _, err := c.conns[shard].Exec(context.Background(), sql); err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}

	return nil
}

// begin opens a transaction and does what it is for.
func (c *client) begin(shard int, global, gid string) (*op, error) {
	o := &op{id: c.j.next.Add(1), shard: shard, begun: c.j.w.observer.Now(), after: []int64{c.last, c.j.told.Load()}, global: global, gid: gid}

	if err := c.exec(shard, "BEGIN"); err != nil {
		return nil, err
	}

	if global != "" {
		if err := c.exec(shard, tag(global, 2)); err != nil {
			return nil, err
		}
	}

	if err := c.exec(shard, fmt.Sprintf("INSERT INTO moments VALUES (%d)", o.id)); err != nil {
		return nil, err
	}

	c.pause(3)

	var xid uint64
	err := c.conns[shard].QueryRow(context.Background(), "SELECT pg_current_xact_id()::text::bigint").Scan(&xid)
	o.xid = uint32(xid)
	c.keep(o)

	return o, err
}

func (c *client) keep(o *op) {
	c.j.mu.Lock()
	defer c.j.mu.Unlock()
	c.j.ops[o.id] = o
}

func (c *client) end(o *op, sql string) error {
	if err := c.exec(o.shard, sql); err != nil {
		return err
	}

	c.acked(o)

	return nil
}

func (c *client) acked(o *op) {
	c.j.mu.Lock()
	o.acked = c.j.w.observer.Now()
	c.j.mu.Unlock()
	c.last = o.id
	c.j.told.Store(o.id)
}

func (c *client) both(a int, global, gid string) (x, y *op, err error) {
	if x, err = c.begin(a, global, gid); err == nil {
		y, err = c.begin(1-a, global, gid)
	}

	return x, y, err
}

// tagged commits on one shard and then on the other, if it does not die between.
func (c *client) tagged(a int) error {
	id := fmt.Sprintf("g%d", c.j.next.Add(1))

	x, y, err := c.both(a, id, "")
	if err != nil {
		return err
	}

	if err := c.end(x, "COMMIT"); err != nil {
		return err
	}

	if c.rnd.IntN(30) == 0 {
		c.j.mu.Lock()
		c.j.dead[id] = true
		c.j.mu.Unlock()

		return c.dial()
	}

	return c.end(y, "COMMIT")
}

func (c *client) twoPhase(a int) error {
	id := fmt.Sprintf("p%d", c.j.next.Add(1))

	x, y, err := c.both(a, "", id)
	if err != nil {
		return err
	}

	for _, sql := range []string{"PREPARE TRANSACTION '", "COMMIT PREPARED '"} {
		for _, o := range []*op{x, y} {
			if err := c.exec(o.shard, sql+id+"'"); err != nil {
				return err
			}

			if sql[0] == 'C' {
				c.acked(o)
			}
		}
	}

	return nil
}

// write writes to Redis.
func (c *client) write() error {
	o := &op{id: c.j.next.Add(1), shard: -1, after: []int64{c.last, c.j.told.Load()}}

	var err error
	if o.from, err = c.offset(); err != nil {
		return err
	}

	if err := c.cache.Incr(context.Background(), "moments").Err(); err != nil {
		return err
	}

	if o.to, err = c.offset(); err != nil {
		return err
	}

	c.keep(o)
	c.acked(o)

	return nil
}

func (c *client) offset() (uint64, error) {
	text, err := c.cache.Info(context.Background(), "replication").Result()
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(text, "master_repl_offset:")
	number, _, _ := strings.Cut(rest, "\r\n")

	return strconv.ParseUint(number, 10, 64)
}

// judge knows what truly happened.
type judge struct {
	*journal
	places []map[uint32]place
}

func (j *journal) judge(t *testing.T) *judge {
	t.Helper()
	return &judge{j, []map[uint32]place{j.w.places(t, j.w.pg[0]), j.w.places(t, j.w.pg[1])}}
}

// wrong says what is wrong with a cut of an instant.
func (j *judge) wrong(cut *targets.Cut, at clock.Instant) (faults []string) {
	bad := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }

	in, out := map[int64]bool{}, map[int64]bool{}
	for id, o := range j.ops {
		in[id], out[id] = j.in(cut, o)
	}
	parts, broken := map[string][]*op{}, map[string]bool{}

	for _, b := range cut.Proof.Broken {
		broken[b.ID] = true
	}

	for id, o := range j.ops {
		parts[o.global+o.gid] = append(parts[o.global+o.gid], o)

		for _, cause := range o.after {
			if in[id] && out[cause] {
				bad("operation %d is in, and %d is not, of which it knew", id, cause)
			}
		}

		switch {
		case o.acked != 0 && o.acked < at && out[id]:
			bad("operation %d was acknowledged before and is not in", id)
		case o.shard >= 0 && o.begun > at && in[id]:
			bad("operation %d began later and is in", id)
		}
	}

	delete(parts, "")

	for id, ops := range parts {
		if n := len(ops); n != 2 { // the client was stopped
			continue
		}

		// The list is of what was half done since it is complete; what is older is in none.
		begun := cut.Proof.At.Add(time.Duration(min(ops[0].begun, ops[1].begun) - at))
		if begun.Before(cut.Proof.BrokenComplete) {
			continue
		}

		if in[ops[0].id] != in[ops[1].id] && !broken[id] && cut.Proof.Grade == targets.Proven {
			bad("a part of %s is in", id)
		}
	}

	return faults
}

// in reports whether an operation is there after recovery, surely, and whether it surely is not.
func (j *judge) in(cut *targets.Cut, o *op) (in, out bool) {
	if o.shard < 0 {
		p, _ := cut.Point(j.w.redis.Shard)
		return o.to <= p.Position.Offset, o.from >= p.Position.Offset
	}
	p, _ := cut.Point(j.w.pg[o.shard].Shard)
	is := j.places[o.shard][o.xid]
	in = is.committed && is.decided < p.Position.Offset

	for _, d := range p.InDoubt {
		in = in || d.GID == targets.GID(o.gid) && d.Action == targets.InDoubtCommit
	}

	return in, !in
}
