package watch

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/internal/retry"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	// tick is how often all servers are asked, in rounds that are gap apart.
	tick   = time.Second
	rounds = 3
	gap    = 4 * time.Millisecond
	// lull is how long a server with a clock is left alone between rounds that look closely: its
	// clock is known before and after, and in between its log tells the rest.
	lull = 40 * time.Millisecond
	// answerWithin is how long a server may take for one observation; past it the
	// connection is given up. connectWithin is how long finding the primary
	// and connecting may take.
	answerWithin  = 2 * time.Second
	connectWithin = 15 * time.Second
	// lookAgain is how often it is made sure that the server is still the primary: a
	// former one that lives on answers as before.
	lookAgain = time.Minute
	// asking and connecting bound what is done at once. An exchange that takes
	// longer than patience no longer counts: it must not hold up others.
	asking, connecting = 64, 32
	patience           = 100 * time.Millisecond
	// saveEvery is how often a batch is stored.
	saveEvery = 2 * time.Second
)

// Shard is one to observe. Its kind has a log.
type Shard struct {
	Shard targets.ShardID
	Kind  targets.Kind
}

// Options say what to observe and where to keep it.
type Options struct {
	Group string
	// Queue is the task queue of this process, for the batches; may be empty.
	Queue  string
	Shards []Shard
	// Resolve finds the primary of a shard and what connects to it.
	Resolve func(context.Context, targets.ShardID) (targets.Instance, observation.Observable, error)
	// Vaults are those of the group's policy that can be reached now.
	Vaults func(context.Context) (vault.Set, error)
	Log    *slog.Logger
}

// Watcher observes one group. It is safe for concurrent use.
type Watcher struct {
	o     Options
	by    *observation.Observer
	seats []*seat // in the order of the shards
	asks  limiter // bounds exchanges
	opens limiter // bounds connecting

	waves    waves
	batch    collector
	holes    holes
	keep     keeper
	bursting chan struct{} // holds one token: bursts come one after the other
	started  time.Time
}

// New makes an observer that has not begun. Shards are observed once each.
func New(o Options) *Watcher {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Shards = slices.Clone(o.Shards)
	slices.SortFunc(o.Shards, func(a, b Shard) int { return a.Shard.Compare(b.Shard) })
	o.Shards = slices.Compact(o.Shards)

	w := &Watcher{o: o, by: observation.NewObserver(), asks: newLimiter(asking), opens: newLimiter(connecting),
		bursting: make(chan struct{}, 1), started: time.Now()}
	w.waves.next = make(chan struct{})
	w.batch.w, w.keep.w = w, w
	w.holes.since = w.started.UTC()
	w.keep.wake, w.keep.silent = make(chan struct{}, 1), map[string]time.Time{}

	for _, s := range o.Shards {
		w.seats = append(w.seats, newSeat(w, s))
	}

	return w
}

// Observer is the name of the observer.
func (w *Watcher) Observer() string { return w.by.Name() }

// At is the instant of a time that was read from this process' monotonic clock.
func (w *Watcher) At(t time.Time) clock.Instant { return w.by.At(t) }

// Started is when it was made.
func (w *Watcher) Started() time.Time { return w.started }

// Run observes until the context ends. What was observed by then is stored, within
// a few seconds. It is called once.
func (w *Watcher) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range w.seats {
		all.Go(func() { s.run(ctx) })
	}

	saving, done := context.WithCancel(context.WithoutCancel(ctx))
	defer done()

	var saver sync.WaitGroup
	saver.Go(func() { w.keep.run(saving) })

	last := time.Now()
	for retry.Sleep(ctx, tick) == nil {
		w.waves.send()

		if time.Since(last) >= saveEvery {
			last = time.Now()

			w.flush()
		}
	}

	all.Wait()
	w.flush()
	done()
	saver.Wait()
	w.keep.finish(ctx)
}

// flush hands what was collected over to be stored.
func (w *Watcher) flush() {
	if b, ok := w.batch.take(); ok {
		w.keep.add(b)
	}
}

// waves wake all seats at once.
type waves struct {
	mu    sync.Mutex
	next  chan struct{}
	dense int // bursts that want dense rounds now
}

// send wakes all that wait for the next wave.
func (s *waves) send() {
	s.mu.Lock()
	defer s.mu.Unlock()

	close(s.next)
	s.next = make(chan struct{})
}

// wait is closed with the next wave.
func (s *waves) wait() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.next
}

// densely reports whether rounds go on.
func (s *waves) densely() bool {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.dense > 0
}

// begin makes rounds go on until the returned function is called.
func (s *waves) begin() (end func()) {
	s.mu.Lock()
	s.dense++
	s.mu.Unlock()
	s.send()

	return sync.OnceFunc(func() {
		s.mu.Lock()
		defer s.mu.Unlock()

		s.dense--
	})
}

// limiter bounds what is done at once. What takes longer than patience is no longer
// counted.
type limiter chan struct{}

func newLimiter(n int) limiter { return make(limiter, n) }

// enter waits for a place, and returns what gives it back.
func (l limiter) enter(ctx context.Context) (leave func(), err error) {
	select {
	case l <- struct{}{}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	free := sync.OnceFunc(func() { <-l })
	timer := time.AfterFunc(patience, free)

	return func() { timer.Stop(); free() }, nil
}
