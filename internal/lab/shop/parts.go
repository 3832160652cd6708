package shop

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/retry"
)

// Part is a part of the traffic, which can be switched by itself.
type Part string

// The parts. What a platform has no store for is left out of them.
const (
	// Basics are transfers between two shards, orders of two tables and a trigger, carts in
	// Redis and images in a bucket.
	Basics Part = "basics"
	// Bookings are global transactions over two or three shards.
	Bookings Part = "bookings"
	// Chains go from a shard to Redis and on to a shard where they read what others wrote.
	Chains Part = "chains"
	// Ledgers write into another database of the cluster what they wrote into the shop's.
	Ledgers Part = "ledgers"
	// Sagas are several local transactions over some seconds, tagged as a whole.
	Sagas Part = "sagas"
	// Deaths are clients that die between two commits of a booking.
	Deaths Part = "deaths"
	// Batches keep a transaction open for half a minute, or until the traffic ends.
	Batches Part = "batches"
	// Vacuums, Indexes and Nights (partitions that are made while the shop sells) are
	// what an operator's jobs do.
	Vacuums Part = "vacuums"
	Indexes Part = "indexes"
	Nights  Part = "nights"
)

var (
	// Classic is what a shop is at least.
	Classic = []Part{Basics}
	// Realistic is all of it.
	Realistic = []Part{Basics, Bookings, Chains, Ledgers, Sagas, Deaths, Batches, Vacuums, Indexes, Nights}
)

func known(parts []Part) error {
	for _, p := range parts {
		if !slices.Contains(Realistic, p) {
			return fail.Newf(fail.Invalid, "shop: traffic", string(p), "there is no such part; use some of %v", Realistic)
		}
	}

	return nil
}

func (o TrafficOptions) has(p Part) bool { return slices.Contains(o.Parts, p) }

// operation is a choice of any client.
type operation func(*client, *journal.Record) func(context.Context, *journal.Record) error

// oftenOf are the operations of the parts beyond Basics that customers make.
func oftenOf(o TrafficOptions) (often []operation) {
	if o.has(Bookings) && len(o.Postgres) > 1 {
		often = append(often, func(c *client, rec *journal.Record) func(context.Context, *journal.Record) error {
			rec.Kind, rec.Gate = journal.KindBooking, c.Gate
			return c.booking
		})
	}

	if o.has(Chains) {
		often = append(often, func(c *client, rec *journal.Record) func(context.Context, *journal.Record) error {
			rec.Kind = journal.KindChain
			return c.chain
		})
	}

	if o.has(Ledgers) {
		often = append(often, func(c *client, rec *journal.Record) func(context.Context, *journal.Record) error {
			rec.Kind = journal.KindLedger
			return c.entry
		})
	}

	return often
}

// at is the client's connection to the database of a step.
func (c *client) at(ctx context.Context, s journal.Step) (*pgx.Conn, error) {
	if s.Database == "" {
		return c.conn(ctx, s.Shard)
	}

	return stores.Ready(ctx, stores.Ledger(c.Postgres[s.Shard]), &c.ledgers[s.Shard])
}

// write begins a local transaction of a step and writes its row.
func (c *client) write(ctx context.Context, rec *journal.Record, n int) (*pgx.Conn, error) {
	s := rec.Steps[n]

	conn, err := c.at(ctx, s)
	if err != nil {
		return nil, err
	}

	night := int64(0)
	if s.Database == "" {
		night = c.night.Load()
	}

	return conn, stores.Run(ctx, conn, "INSERT 0 1", fmt.Sprintf("BEGIN; %sINSERT INTO steps (op, n, kind, night) VALUES ('%s', %d, '%s', %d)",
		statement(s), rec.ID, n, rec.Kind, night))
}

// one is a local transaction of its own.
func (c *client) one(ctx context.Context, rec *journal.Record, s journal.Step) error {
	n := c.add(rec, s)

	conn, err := c.write(ctx, rec, n)
	if err == nil && s.Database == "" {
		err = c.read(ctx, conn, rec, n)
	}

	if err == nil {
		err = c.commit(ctx, conn, rec, n, "COMMIT", "COMMIT")
	}

	if err != nil {
		stores.Discard(ctx, conn)
		return err
	}

	return c.journal.Write(rec)
}

// read looks for what somebody wrote last, whether or not anybody was told.
func (c *client) read(ctx context.Context, conn *pgx.Conn, rec *journal.Record, n int) error {
	var op string
	var at int

	err := conn.QueryRow(ctx, "SELECT op::text, greatest(n, 0) FROM steps WHERE op <> $1 ORDER BY seq DESC LIMIT 1", rec.ID).Scan(&op, &at)
	if err == nil {
		rec.Steps[n].Saw = append(rec.Steps[n].Saw, journal.StepID(op, at))
	}

	if err == pgx.ErrNoRows {
		err = nil
	}

	return err
}

// booking writes on two or three shards, and commits one after the other.
func (c *client) booking(ctx context.Context, rec *journal.Record) error {
	return c.book(ctx, rec, false)
}

func (c *client) book(ctx context.Context, rec *journal.Record, dies bool) (err error) {
	release, err := c.holdGate(ctx)
	if err != nil {
		return err
	}
	defer release()

	rec.Shards = c.rng.Perm(len(c.Postgres))[:min(2+c.rng.IntN(2), len(c.Postgres))]
	conns := make([]*pgx.Conn, len(rec.Shards))

	defer func() {
		if err != nil {
			rec.Broken = rec.CommitNS > 0

			for _, conn := range conns {
				stores.Discard(ctx, conn)
			}
		}
	}()

	counted := c.rng.IntN(2) == 0
	for n, shard := range rec.Shards {
		s := journal.Step{Shard: shard, Tag: c.tag(rec.ID, n, len(rec.Shards), counted)}
		if c.has(Ledgers) && c.rng.IntN(4) == 0 {
			s.Database = stores.Ledger(c.Postgres[shard]).Database
		}

		err = c.waits(ctx, c.open(conns), func() (err error) {
			conns[n], err = c.write(ctx, rec, c.add(rec, s))
			return err
		})
		if err != nil {
			return err
		}

		_ = retry.Sleep(ctx, time.Duration(c.rng.IntN(2000))*time.Microsecond)
	}

	for n := range rec.Shards {
		if dies && n > 0 {
			for _, conn := range conns {
				_ = conn.Close(ctx)
			}

			return errDied
		}

		if err = c.commit(ctx, conns[n], rec, n, "COMMIT", "COMMIT"); err != nil {
			return err
		}
	}

	return nil
}

// chain writes on a shard, in Redis, and on a shard again.
func (c *client) chain(ctx context.Context, rec *journal.Record) error {
	a, b := c.rng.IntN(len(c.Postgres)), c.rng.IntN(len(c.Postgres))
	rec.Shards = []int{a, b}

	if err := c.one(ctx, rec, journal.Step{Shard: a}); err != nil {
		return err
	}

	if len(c.redis) > 0 {
		cart, err := c.do(ctx, c.someCart)
		c.meter.Count(cart)

		if err != nil {
			return err
		}
	}

	return c.one(ctx, rec, journal.Step{Shard: b})
}

// entry writes into the shop's database and then into the ledger's.
func (c *client) entry(ctx context.Context, rec *journal.Record) error {
	shard := c.rng.IntN(len(c.Postgres))
	rec.Shards = []int{shard, shard}

	if err := c.one(ctx, rec, journal.Step{Shard: shard}); err != nil {
		return err
	}

	return c.one(ctx, rec, journal.Step{Shard: shard, Database: stores.Ledger(c.Postgres[shard]).Database})
}

// saga is three local transactions with time between them. Once begun it is
// finished: without pauses when the traffic ends meanwhile.
func (c *client) saga(ctx context.Context, rec *journal.Record) (err error) {
	const steps = 3
	defer func() { rec.Broken = err != nil && rec.CommitNS > 0 }()

	for n := range steps {
		shard := c.rng.IntN(len(c.Postgres))
		rec.Shards = append(rec.Shards, shard)

		if err := c.one(ctx, rec, journal.Step{Shard: shard, Tag: c.tag(rec.ID, n, steps, false)}); err != nil {
			return err
		}

		if n < steps-1 {
			_ = retry.Sleep(c.until, c.Saga/(steps-1))
		}
	}

	return nil
}

// ParseParts reads "classic", "realistic", "pooled" or names with commas between.
func ParseParts(text string) ([]Part, error) {
	switch text {
	case "classic":
		return Classic, nil
	case "realistic":
		return Realistic, nil
	case "pooled":
		return Pooled, nil
	}

	var parts []Part
	for name := range strings.SplitSeq(text, ",") {
		parts = append(parts, Part(strings.TrimSpace(name)))
	}

	return parts, known(parts)
}
