package wal_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/targets"
	"drctl/targets/postgres/wal"
)

// A deed is what a client knows of a transaction of its own.
type deed struct {
	xid      uint32
	outcome  wal.Outcome
	tags     []string
	gid      string
	before   time.Time // the server's clock in the last statement
	after    time.Time // the server's clock when it was over
	from, to wal.LSN   // the log's end at those times
}

// diary is what all clients know.
type diary struct {
	mu    sync.Mutex
	deeds []deed
	said  []string // messages outside of transactions
}

func (d *diary) add(x deed, said ...string) {
	d.mu.Lock()
	defer d.mu.Unlock()

	if x.xid != 0 {
		d.deeds = append(d.deeds, x)
	}
	d.said = append(d.said, said...)
}

const now = `SELECT clock_timestamp(), pg_current_wal_insert_lsn()::text`

// client works in transactions of all kinds until it has done n.
type client struct {
	conn *pgx.Conn
	d    *diary
	rnd  *rand.Rand
	name string
	cur  deed
}

func (c *client) exec(sql string, args ...any) error {
	_, err := c.conn.Exec(context.Background(), sql, args...)
	if err != nil {
		return fmt.Errorf("%s: %w", sql, err)
	}

	return nil
}

func (c *client) clock() (at time.Time, end wal.LSN, err error) {
	var s string
	if err = c.conn.QueryRow(context.Background(), now).Scan(&at, &s); err != nil {
		return at, end, err
	}
	n, err := targets.ParseLSN(s)

	return at, wal.LSN(n), err
}

func (c *client) tag(n int) error {
	tag := fmt.Sprintf("%s/%d", c.name, n)
	c.cur.tags = append(c.cur.tags, tag)

	return c.exec(`SELECT pg_logical_emit_message(true, 'drctl/global', $1)`, tag)
}

// work does one transaction.
func (c *client) work(n int) error {
	c.cur = deed{outcome: wal.Committed}
	if err := c.exec("BEGIN"); err != nil {
		return err
	}

	if c.rnd.IntN(3) == 0 { // a transaction that begins with a tag
		if err := c.tag(n); err != nil {
			return err
		}
	}

	var xid int64
	if err := c.conn.QueryRow(context.Background(), "SELECT txid_current()").Scan(&xid); err != nil {
		return err
	}
	c.cur.xid = uint32(xid)

	for range 1 + c.rnd.IntN(3) {
		if err := c.statement(n); err != nil {
			return err
		}
	}

	return c.over(n)
}

func (c *client) statement(n int) error {
	switch c.rnd.IntN(12) {
	case 0:
		return c.tag(n)
	case 1:
		said := fmt.Sprintf("%s/%d/%d", c.name, n, c.rnd.Int())
		c.d.add(deed{}, said)

		return c.exec(`SELECT pg_logical_emit_message(false, 'drctl/note', $1)`, said)
	case 2: // a record of many pages
		return c.exec(`SELECT pg_logical_emit_message(true, 'other', repeat('x', $1))`, 1+c.rnd.IntN(200_000))
	case 3:
		return c.subtransaction(n, true)
	case 4:
		return c.subtransaction(n, false)
	case 5: // files, invalidations and statistics to drop
		name := fmt.Sprintf("t_%s_%d_%d", c.name, n, c.rnd.IntN(1<<30))
		if err := c.exec("CREATE TABLE " + name + " (a int PRIMARY KEY, b text)"); err != nil {
			return err
		}

		return c.exec("DROP TABLE " + name)
	case 6:
		return c.exec("INSERT INTO load SELECT g, repeat(md5(random()::text), 50) FROM generate_series(1, 200) g")
	}

	return c.exec("INSERT INTO load VALUES ($1, repeat('y', $2))", n, c.rnd.IntN(3000))
}

// subtransaction tags inside a savepoint, which it keeps or rolls back.
func (c *client) subtransaction(n int, keep bool) error {
	tags := slices.Clone(c.cur.tags)
	if err := c.exec("SAVEPOINT a"); err != nil {
		return err
	}

	if err := c.exec("SAVEPOINT b"); err != nil {
		return err
	}

	if err := c.tag(n); err != nil {
		return err
	}

	if err := c.exec("RELEASE b"); err != nil {
		return err
	}

	if keep {
		return c.exec("RELEASE a")
	}
	c.cur.tags = tags

	return c.exec("ROLLBACK TO a")
}

// over ends the transaction in one of the ways.
func (c *client) over(n int) (err error) {
	if c.cur.before, c.cur.from, err = c.clock(); err != nil {
		return err
	}

	how := c.rnd.IntN(8)
	switch how {
	case 0:
		c.cur.outcome = wal.Aborted
		err = c.exec("ROLLBACK")
	case 1, 2:
		c.cur.gid = fmt.Sprintf("gid %s-%d", c.name, n)
		if err := c.exec("PREPARE TRANSACTION '" + c.cur.gid + "'"); err != nil {
			return err
		}

		if c.cur.before, c.cur.from, err = c.clock(); err != nil {
			return err
		}

		c.cur.outcome = wal.CommittedPrepared

		verb := "COMMIT"
		if how == 2 {
			c.cur.outcome, verb = wal.AbortedPrepared, "ROLLBACK"
		}
		err = c.exec(verb + " PREPARED '" + c.cur.gid + "'")
	default:
		err = c.exec("COMMIT")
	}

	if err != nil {
		return err
	}

	if c.cur.after, c.cur.to, err = c.clock(); err != nil {
		return err
	}

	c.d.add(c.cur)

	return nil
}

// load lets several clients work, each for some transactions.
func (c *cluster) load(t testing.TB, d *diary, seed uint64, clients, each int) {
	t.Helper()
	setup := c.connect(t)
	do(t, setup, "CREATE TABLE IF NOT EXISTS load (a int, b text)")

	errs := make(chan error, clients)
	for i := range clients {
		w := &client{conn: c.connect(t), d: d, rnd: rand.New(rand.NewPCG(seed, uint64(i))), name: fmt.Sprintf("c%d_%d", seed, i)}
		go func() {
			for n := range each {
				if err := w.work(n); err != nil {
					errs <- err
					return
				}
			}

			errs <- nil
		}()
	}

	for range clients {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}

	do(t, setup, "CHECKPOINT") // and with it the list of open transactions
}

// stamps asks the server for the times of commits.
func stamps(t testing.TB, conn *pgx.Conn, deeds []deed) map[uint32]time.Time {
	t.Helper()

	var ids []string
	for _, d := range deeds {
		if d.outcome == wal.Committed || d.outcome == wal.CommittedPrepared {
			ids = append(ids, strconv.FormatUint(uint64(d.xid), 10))
		}
	}

	rows, err := conn.Query(context.Background(), "SELECT x, pg_xact_commit_timestamp(x::xid) FROM unnest($1::text[]) x", ids)
	if err != nil {
		t.Fatal(err)
	}

	out := map[uint32]time.Time{}
	for rows.Next() {
		var id string

		var at time.Time
		if err := rows.Scan(&id, &at); err != nil {
			t.Fatal(err)
		}

		n, err := strconv.ParseUint(id, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		out[uint32(n)] = at
	}

	if rows.Err() != nil {
		t.Fatal(rows.Err())
	}

	return out
}

// agree compares what the log says with what clients and server know.
func agree(t *testing.T, e ended, d *diary, times map[uint32]time.Time) {
	t.Helper()

	found := map[uint32]wal.Transaction{}
	for i, x := range e.transactions {
		if i > 0 && x.Start < e.transactions[i-1].End {
			t.Errorf("%v at %v is out of order", x.Outcome, x.Start)
		}

		if x.Outcome == wal.Prepared {
			continue
		}

		if _, twice := found[x.XID]; twice {
			t.Errorf("transaction %d ended twice", x.XID)
		}
		found[x.XID] = x
	}

	for _, want := range d.deeds {
		got, ok := found[want.xid]
		if !ok {
			t.Errorf("transaction %d (%v) is not in the log", want.xid, want.outcome)
			continue
		}

		var tags []string
		for _, m := range got.Tags {
			tags = append(tags, m.Content)
		}

		if want.outcome == wal.Aborted { // savepoints that were open end by records of their own
			tags = want.tags
		}

		if got.Outcome != want.outcome || !slices.Equal(tags, want.tags) || got.GID != want.gid || !got.Whole {
			t.Errorf("transaction %d: %v %q %q (whole: %v), want %v %q %q", want.xid, got.Outcome, tags, got.GID, got.Whole, want.outcome, want.tags, want.gid)
		}

		if at, ok := times[want.xid]; ok && !at.Equal(got.Stamp) {
			t.Errorf("transaction %d is stamped %v, the server says %v", want.xid, got.Stamp, at)
		}

		if got.Stamp.Before(want.before) || got.Stamp.After(want.after) || got.Start < want.from || got.End > want.to {
			t.Errorf("transaction %d: %v at %v to %v, want between %v at %v and %v at %v", want.xid, got.Stamp, got.Start, got.End, want.before, want.from, want.after, want.to)
		}

		delete(found, want.xid)
	}

	for _, x := range found {
		if len(x.Tags) > 0 && x.Outcome != wal.Aborted { // subtransactions that were rolled back
			t.Errorf("nobody knows transaction %d (%v) with tags %v", x.XID, x.Outcome, x.Tags)
		}
	}

	var said []string
	for _, m := range e.messages {
		said = append(said, m.Content)
	}

	slices.Sort(said)
	slices.Sort(d.said)

	if !slices.Equal(said, d.said) {
		t.Errorf("%d messages outside of transactions, want %d", len(said), len(d.said))
	}
}
