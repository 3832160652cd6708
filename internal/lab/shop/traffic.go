package shop

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/jackc/pgx/v5"
	"github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/meter"
	"drctl/internal/lab/shop/stores"
	"drctl/internal/lab/shop/transfer"
	"drctl/internal/retry"
)

// cartsPerClient bounds the carts; each is written by one client only, so its
// sequence numbers are in order.
const cartsPerClient = 8

// TrafficOptions describe the traffic. Zero numbers take the defaults.
type TrafficOptions struct {
	Platform
	Rate    float64 // operations per second of all clients together; default 100
	Clients int     // default 8
	Style   string  // TwoPhase, Plain or Mix (default)
	// Gate: hold the group's gate around each transfer.
	Gate bool
	// Parts are what the traffic is made of; none means Classic.
	Parts []Part
	// Tag: write the tag of every global transaction into its shards' logs.
	Tag bool
	// Saga is how long a saga takes; default a second.
	Saga time.Duration
	// Death is how often a client dies between two commits; default 15 seconds.
	Death time.Duration
	// Proxied: customers reach PostgreSQL through poolers in transaction mode, and Redis
	// through proxies that move. Parts that need a session of their own are refused, and a change
	// of a cart whose connection was lost is made again.
	Proxied bool
	// Patience is how long a customer who holds a transaction open on one shard waits for another
	// before it lets go of both and begins again, with twice the patience; default 50 ms if Proxied, else for ever. Without
	// it, poolers that are paused together wait for customers, who wait for poolers.
	Patience time.Duration
	// Pulse adds a customer for every store who writes there alone, so often; 0: none.
	Pulse time.Duration
	// Outages: list every write outage of a store that is longer; 0: the longest alone.
	Outages  time.Duration
	Journal  string        // file; appended to
	Duration time.Duration // from when every shard answers; 0: until ctx ends
	Seed     int64         // of what the clients choose; 0: by chance
	// Lane of Lanes is this generator's own part of the rows and carts, for
	// several generators on one platform. Lanes 0 is 1.
	Lane, Lanes int
	// Progress is called once per second. May be nil.
	Progress func(Second)
	Log      *slog.Logger

	started func() // called when every shard has answered; may be nil
}

func (o TrafficOptions) withDefaults() (TrafficOptions, error) {
	if err := o.Validate(); err != nil {
		return o, err
	}

	if o.Rate <= 0 {
		o.Rate = 100
	}

	if o.Clients <= 0 {
		o.Clients = 8
	}

	o.Lanes = max(o.Lanes, 1)
	if o.Lane < 0 || o.Lane >= o.Lanes {
		return o, fail.Newf(fail.Invalid, "shop: traffic", o.Group, "lane %d of %d does not exist", o.Lane, o.Lanes)
	}

	if len(o.Parts) == 0 {
		o.Parts = Classic
	}

	if err := known(o.Parts); err != nil {
		return o, err
	}

	if o.Pulse > 0 && len(o.Redis) > cartsPerClient {
		return o, fail.Newf(fail.Invalid, "shop: traffic", o.Group, "a pulse reaches %d Redis masters at most", cartsPerClient)
	}

	if o.Proxied {
		if err := throughPoolers(o.Parts); err != nil {
			return o, err
		}

		if o.Patience <= 0 {
			o.Patience = 50 * time.Millisecond
		}
	}

	if o.Saga <= 0 {
		o.Saga = time.Second
	}

	if o.Death <= 0 {
		o.Death = 15 * time.Second
	}

	switch o.Style {
	case "":
		o.Style = Mix
	case TwoPhase, Plain, Mix:
	default:
		return o, fail.Newf(fail.Invalid, "shop: traffic", o.Group, "unknown style %q; use 2pc, plain or mix", o.Style)
	}

	if o.Journal == "" {
		return o, fail.Newf(fail.Invalid, "shop: traffic", o.Group, "no journal is named")
	}

	if o.Seed == 0 {
		o.Seed = rand.Int64()
	}

	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}

	return o, nil
}

// traffic is one run.
type traffic struct {
	TrafficOptions
	journal *journal.Journal
	meter   *meter.Meter
	redis   []*redis.Client
	media   *s3.Client
	rows    int           // accounts and SKUs to choose from, on every shard
	seqs    map[int]int64 // highest journaled sequence per cart
	doubt   *transfer.Doubt
	// board has steps that clients tell each other of.
	board [8]atomic.Pointer[string]
	night atomic.Int64 // partition that is written into
	often []operation
}

// Run is the shop's customers: it works until ctx ends or Duration is over. It
// survives servers that die or hang: it reconnects with growing pauses and
// counts what failed. It settles its own prepared transactions and half-done
// transfers at the start, while it runs and at the end. An error means that
// the traffic could not be made at all or that the journal could not be written.
func Run(ctx context.Context, o TrafficOptions) (Summary, error) { return run(ctx, o, meter.New()) }

func run(ctx context.Context, o TrafficOptions, m *meter.Meter) (Summary, error) {
	o, err := o.withDefaults()
	if err != nil {
		return Summary{}, err
	}

	j, err := journal.Open(o.Journal)
	if err != nil {
		return Summary{}, err
	}
	t := &traffic{TrafficOptions: o, journal: j, meter: m, seqs: map[int]int64{}}
	t.doubt = transfer.NewDoubt(o.Platform, j, o.Log)
	m.Watch(meter.Stores{Postgres: names(o.Postgres), Redis: names(o.Redis)}, o.Outages)

	err = t.open(ctx)
	if err == nil {
		err = t.work(ctx)
	}

	for _, c := range t.redis {
		_ = c.Close()
	}

	if cerr := j.Close(); err == nil {
		err = cerr
	}
	sum := t.meter.Summary()
	sum.Resolved = t.doubt.Counts()

	return sum, err
}

// open reads the journal of earlier runs and makes the clients' connections
// ready to be made.
func (t *traffic) open(ctx context.Context) error {
	for r, err := range journal.Read(t.Journal) {
		if err != nil {
			return err
		}

		if r.Kind == journal.KindCart {
			t.seqs[r.Cart] = max(t.seqs[r.Cart], r.Seq)
		}

		t.doubt.Learn(r)
	}

	for _, in := range t.Redis {
		c, err := stores.OpenRedis(in)
		if err != nil {
			return err
		}
		t.redis = append(t.redis, c)
	}

	if t.HasMedia() {
		t.media = stores.OpenMedia(t.Media, 1)
	}

	t.often = oftenOf(t.TrafficOptions)
	t.rows = t.countRows(ctx)

	return nil
}

// countRows returns how many accounts and SKUs every shard has, asking until
// it is told; 0 when ctx ends before.
func (t *traffic) countRows(ctx context.Context) int {
	least := 0
	for i := 0; i < len(t.Postgres) && ctx.Err() == nil; {
		n := 0

		c, err := stores.Connect(ctx, t.Postgres[i])
		if err == nil {
			err = c.QueryRow(ctx, "SELECT least((SELECT count(*) FROM accounts), (SELECT count(*) FROM stock WHERE sku > 0))").Scan(&n)
			_ = c.Close(context.WithoutCancel(ctx))
		}

		if err != nil || n == 0 {
			t.Log.Warn("shop: waiting for a shard that is set up", "shard", t.Postgres[i].String(), "err", err)
			_ = retry.Sleep(ctx, 500*time.Millisecond)

			continue
		}

		if least == 0 || n < least {
			least = n
		}

		i++
	}

	if ctx.Err() != nil {
		return 0
	}

	return least
}

func (t *traffic) work(ctx context.Context) error {
	if t.rows == 0 {
		return nil // the end came before the shards answered
	}

	if err := t.doubt.Settle(ctx, true); err != nil {
		t.Log.Warn("shop: earlier transactions are not settled yet", "err", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	if t.Duration > 0 {
		ctx, cancel = context.WithTimeout(ctx, t.Duration)
		defer cancel()
	}

	t.meter.Start(time.Now())
	context.AfterFunc(ctx, func() { t.meter.Leave(time.Now()) })

	if t.started != nil {
		t.started()
	}
	var wg, aux sync.WaitGroup
	auxCtx, stop := context.WithCancel(context.WithoutCancel(ctx))
	aux.Go(func() { t.tick(auxCtx, cancel) })
	aux.Go(func() { t.doubt.Run(auxCtx) })

	for n := range t.Clients {
		c := newClient(t, n)
		wg.Go(func() {
			c.run(ctx, time.Duration(float64(t.Clients)/t.Rate*float64(time.Second)), 500*time.Millisecond, c.choose)
		})
	}

	for n := range t.pulses() {
		c := newClient(t, t.Clients+n)
		wg.Go(func() { c.run(ctx, t.Pulse, t.Pulse, c.pulse(n)) })
	}

	for _, job := range t.jobs() {
		wg.Go(func() { job(ctx) })
	}

	wg.Wait()
	t.meter.Leave(time.Now())
	stop()
	aux.Wait()
	t.meter.End(time.Now())

	ectx, ecancel := context.WithTimeout(context.WithoutCancel(ctx), 2*stores.Timeout)
	defer ecancel()

	for range 3 {
		err := t.doubt.Settle(ectx, true)
		if err == nil {
			break
		}

		t.Log.Warn("shop: some transactions are in doubt at the end", "err", err)
		_ = retry.Sleep(ectx, 300*time.Millisecond)
	}

	return t.journal.Failed()
}

// tick reports and flushes once per second, and ends the traffic when the
// journal cannot be written.
func (t *traffic) tick(ctx context.Context, stop func()) {
	every := time.NewTicker(time.Second)
	defer every.Stop()

	for {
		select {
		case <-ctx.Done():
			return
		case now := <-every.C:
			if s := t.meter.Second(now); t.Progress != nil {
				t.Progress(s)
			}

			t.journal.Flush()

			if t.journal.Failed() != nil {
				stop()
			}
		}
	}
}

// client is one customer: one goroutine with its own connections.
type client struct {
	*traffic
	lane, lanes int // over all generators
	rng         *rand.Rand
	conns       []*pgx.Conn // per shard, nil when not connected
	ledgers     []*pgx.Conn // likewise, to the other database
	gate        *pgx.Conn
	carts       map[int]int64 // last sequence number used
	last        string        // its last step that was acknowledged
	until       context.Context
	patience    time.Duration // of the operation that goes on
}

func newClient(t *traffic, n int) *client {
	all := t.Clients + t.pulses()
	c := &client{traffic: t, lane: t.Lane*all + n, lanes: t.Lanes * all,
		conns: make([]*pgx.Conn, len(t.Postgres)), ledgers: make([]*pgx.Conn, len(t.Postgres)), carts: map[int]int64{}}
	c.rng = rand.New(rand.NewPCG(uint64(t.Seed), uint64(c.lane)))

	return c
}

// run makes operations so often, with pauses of at most rest after those that failed. One
// that has begun when ctx ends is finished.
func (c *client) run(ctx context.Context, every, rest time.Duration, choose choice) {
	defer c.close()
	next := time.Now().Add(time.Duration(c.rng.Float64() * float64(every)))

	failures := 0
	for {
		_ = retry.Sleep(ctx, time.Until(next))

		if ctx.Err() != nil {
			return
		}
		// After a stall the lost operations are not made up for.
		if next = next.Add(every); time.Since(next) > time.Second {
			next = time.Now()
		}
		octx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stores.Timeout)
		begin := time.Now()
		rec, err := c.do(octx, choose)

		cancel()
		c.meter.Add(rec, time.Since(begin))

		if err != nil {
			c.Log.Debug("shop: operation", "kind", rec.Kind, "status", rec.Status, "err", err)
		}

		if rec.Status == journal.Acked {
			failures = 0
			continue
		}

		_ = retry.Sleep(ctx, min(50*time.Millisecond<<min(failures, 4), rest))
		failures++
	}
}

func (c *client) close() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()

	for _, conn := range append(slices.Concat(c.conns, c.ledgers), c.gate) {
		if conn != nil {
			_ = conn.Close(ctx)
		}
	}
}

// row chooses a row that no other client touches, as long as there are at
// least as many rows as clients.
func (c *client) row() int {
	if c.rows < c.lanes {
		return 1 + c.lane%c.rows
	}

	return 1 + c.lane + c.lanes*c.rng.IntN(c.rows/c.lanes)
}
