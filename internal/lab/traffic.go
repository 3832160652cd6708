package lab

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/s3"

	"drctl/internal/fail"
)

// Style is how a transfer commits on two shards.
type Style string

// The styles.
const (
	TwoPhase Style = "2pc"   // PREPARE TRANSACTION on both, then COMMIT PREPARED on both
	Plain    Style = "plain" // COMMIT on one, then on the other
	Mix      Style = "mix"   // either, at random
)

// TrafficOptions say how the shop is used.
type TrafficOptions struct {
	Platform Platform
	Journal  string        // path; appended to
	Rate     float64       // operations per second, all clients together; default 100
	Clients  int           // default 8
	Style    Style         // default Mix
	Gate     bool          // hold the group's gate (on Orders[0]) during cross-shard transfers
	Duration time.Duration // 0: until ctx ends
	Seed     uint64        // of all choices; 0: from the clock, and reported
	// OpTimeout bounds one operation. Default 10 s.
	OpTimeout time.Duration
	// ImageBytes is the largest image. Default 64 KiB.
	ImageBytes int
	Log        *slog.Logger
	// Progress is called about once a second.
	Progress func(Second)
}

// TrafficReport is what happened.
type TrafficReport struct {
	Seed    uint64        `json:"seed"`
	Took    time.Duration `json:"took_ns"`
	Acked   map[Kind]int  `json:"acked"`
	Failed  map[Kind]int  `json:"failed"`  // no commit was sent
	Unknown map[Kind]int  `json:"unknown"` // a commit was sent and not confirmed
	// Resolved counts prepared transactions that a lost connection or an
	// earlier crash had left, and that were committed or rolled back since.
	Resolved int `json:"resolved"`
	// InDoubt are those that could not be resolved: their server is gone.
	InDoubt int           `json:"in_doubt"`
	P50     time.Duration `json:"p50_ns"` // of acknowledged SQL transactions
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
	Seconds []Second      `json:"seconds,omitempty"`
	// FirstError is one example of a failure.
	FirstError string `json:"first_error,omitempty"`
}

// FailedTransactions counts SQL transactions that failed or are unknown.
func (r TrafficReport) FailedTransactions() int {
	n := 0
	for _, k := range []Kind{Transfer, Order, Image} {
		n += r.Failed[k] + r.Unknown[k]
	}
	return n
}

// traffic is one run.
type traffic struct {
	opt     TrafficOptions
	journal *Journal
	meter   meter
	media   *s3.Client
	limits  struct{ accounts, items int }

	mu     sync.Mutex
	rep    TrafficReport
	doubts []doubt
	rest   atomic.Bool // no new operations
}

// Traffic uses the shop until ctx ends or Duration is over, lets running
// operations finish, and resolves what it left in doubt. A server that dies
// is reported and tried again, it does not end the run; the end of ctx is no
// error. An error means that the traffic could not start, or that the journal
// is incomplete.
func Traffic(ctx context.Context, opt TrafficOptions) (TrafficReport, error) {
	t, err := newTraffic(opt)
	if err != nil {
		return TrafficReport{}, err
	}
	if t.journal, err = OpenJournal(opt.Journal); err != nil {
		return TrafficReport{}, err
	}
	if err := t.begin(ctx); err != nil {
		_ = t.journal.Close()
		return TrafficReport{}, err
	}
	if t.opt.Duration > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, t.opt.Duration)
		defer cancel()
	}
	start := time.Now()
	var wg sync.WaitGroup
	for i := range t.opt.Clients {
		wg.Go(func() { newClient(t, i).run(ctx) })
	}
	helpers, stop := context.WithCancel(context.WithoutCancel(ctx))
	var hg sync.WaitGroup
	hg.Go(func() { t.resolver(helpers) })
	hg.Go(func() { t.ticker(helpers) })
	wg.Wait()
	stop()
	hg.Wait()
	fctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
	defer cancel()
	t.resolveDoubts(fctx)
	_, left := t.resolveFound(fctx)
	t.rep.InDoubt = max(left, len(t.doubts))
	t.rep.Took = time.Since(start)
	t.meter.tick(time.Now().Add(time.Second))
	t.rep.P50, t.rep.P99, _ = percentiles(t.meter.all)
	t.rep.Max, t.rep.Seconds = t.meter.worst, t.meter.seconds
	return t.rep, t.journal.Close()
}

func newTraffic(opt TrafficOptions) (*traffic, error) {
	if len(opt.Platform.Orders) == 0 {
		return nil, fail.Newf(fail.Invalid, "lab: traffic", "platform", "no PostgreSQL shard")
	}
	if opt.Rate <= 0 {
		opt.Rate = 100
	}
	if opt.Clients <= 0 {
		opt.Clients = 8
	}
	switch opt.Style {
	case "":
		opt.Style = Mix
	case TwoPhase, Plain, Mix:
	default:
		return nil, fail.New(fail.Invalid, "lab: traffic", string(opt.Style), "use 2pc, plain or mix", fmt.Errorf("unknown style"))
	}
	if opt.OpTimeout <= 0 {
		opt.OpTimeout = 10 * time.Second
	}
	if opt.ImageBytes <= 0 {
		opt.ImageBytes = 64 << 10
	}
	if opt.Seed == 0 {
		opt.Seed = uint64(time.Now().UnixNano())
	}
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	t := &traffic{opt: opt}
	t.meter.report = opt.Progress
	t.rep = TrafficReport{Seed: opt.Seed, Acked: map[Kind]int{}, Failed: map[Kind]int{}, Unknown: map[Kind]int{}}
	if opt.Platform.Media.Address != "" {
		t.media = s3Client(opt.Platform.Media)
	}
	return t, nil
}

// begin reads the shop's size, cleans up after an earlier crash and journals
// what the sums were in the beginning.
func (t *traffic) begin(ctx context.Context) error {
	rec := Record{Kind: Start, Begin: time.Now().UnixNano(), Seed: t.opt.Seed}
	for i, in := range t.opt.Platform.Orders {
		c, err := dial(ctx, in, "shop")
		if err != nil {
			return err
		}
		meta := map[string]int64{}
		err = c.rows(ctx, "SELECT name, value FROM meta", func(v [][]byte) error {
			meta[string(v[0])] = atoi(v[1])
			return nil
		})
		closeConn(c)
		if err != nil {
			return fail.New(fail.Unavailable, "lab: traffic", in.String(), "make the tables first (Platform.CreateSchema)", err)
		}
		rec.Balance += meta["balance"]
		rec.Stock += meta["stock"]
		rec.Shards = append(rec.Shards, i)
		t.limits.accounts, t.limits.items = int(meta["accounts"]), int(meta["items"])
	}
	if t.limits.accounts < 2*t.opt.Clients || t.limits.items < 2*t.opt.Clients {
		return fail.Newf(fail.Invalid, "lab: traffic", "clients", "%d clients need at least %d accounts and items per shard, there are %d and %d",
			t.opt.Clients, 2*t.opt.Clients, t.limits.accounts, t.limits.items)
	}
	n, left := t.resolveFound(ctx)
	if left > 0 {
		return fail.Newf(fail.Unavailable, "lab: traffic", "prepared transactions", "%d of an earlier run cannot be resolved", left)
	}
	t.rep.Resolved = n
	t.journal.Append(rec)
	return nil
}

// ticker closes seconds in which nothing was done.
func (t *traffic) ticker(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-tick.C:
			t.meter.tick(now)
		}
	}
}

// finish journals and counts an operation.
func (t *traffic) finish(r Record, err error) {
	now := time.Now()
	if err != nil {
		r.Error = err.Error()
	}
	t.journal.Append(r)
	t.mu.Lock()
	switch r.Outcome {
	case Acked:
		t.rep.Acked[r.Kind]++
	case Failed:
		t.rep.Failed[r.Kind]++
	case Unknown:
		t.rep.Unknown[r.Kind]++
	}
	if t.rep.FirstError == "" && err != nil {
		t.rep.FirstError = fmt.Sprintf("%s %s: %v", r.Kind, r.Outcome, err)
	}
	t.mu.Unlock()
	if r.Outcome == Acked {
		t.meter.done(r.Kind, time.Duration(r.Ack-r.Begin), now)
		return
	}
	t.meter.failed(r.Kind, now)
	t.opt.Log.Debug("operation not done", "kind", r.Kind, "outcome", r.Outcome, "err", err)
}

func (t *traffic) random(client int) *rand.Rand {
	return rand.New(rand.NewPCG(t.opt.Seed, uint64(client)))
}

func atoi(b []byte) (n int64) {
	_, _ = fmt.Sscan(string(b), &n)
	return n
}
