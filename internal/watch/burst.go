package watch

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/retry"
	"drctl/targets"
)

const (
	// burstFor is how long a burst takes where nobody says.
	burstFor = 100 * time.Millisecond
	// leadWithin is how long a burst waits at either end for shards that have not been
	// observed within it.
	leadWithin = time.Second
	// pauseFor is how long writers are kept waiting where nobody says.
	pauseFor = 20 * time.Millisecond
	// A server lets its writers go on by itself after the pause, leaseFor, and the two observations
	// of the farthest master (but at most longestLease more): that long they may wait, because
	// a pause is not always ended by hand. Too short a lease costs the pause, and nothing else.
	leaseFor, longestLease = 20 * time.Millisecond, 250 * time.Millisecond
	// resumeWithin is how long ending a pause may take. The lease ends it anyway.
	resumeWithin = time.Second
)

// BurstOptions say how to look closely.
type BurstOptions struct {
	// For is how long; 0 means 100 ms.
	For time.Duration
	// During holds something meanwhile, and may be nil. It is called once, and calls look once when
	// it holds it, however long that took it to get. All that the burst is for is done in look:
	// For passes, or the writers stand still, for as long as it takes. Look fails where its context ends
	// first, and may be left out.
	During func(ctx context.Context, look func(context.Context) error) error
	// Pause keeps the writers of all Redis masters waiting within the burst (with During: within
	// look), for about PauseFor (0: 20 ms). A lease ends it whoever dies, and
	// bounds how long they wait.
	Pause    bool
	PauseFor time.Duration
	// Placed is told how far the logs had come, before what was seen is stored: whoever wants
	// them archived need not wait for that. May be nil; it must not wait.
	Placed func([]Place)
}

// Burst is a time in which all servers were looked at closely.
type Burst struct {
	// Observer that the instants are of.
	Observer string
	// Span is the time: every shard that is not in Missing was observed before and after it.
	proof.Span
	// Began and Ended are what the observer's wall clock showed then.
	Began, Ended time.Time
	// Places are how far the logs of the others had come when it ended.
	Places []Place
	// Missing are the shards that were not observed so, in order.
	Missing []Failing
	// PauseErr is why not all Redis masters stood still at one time; nil when they did, or
	// none was asked to.
	PauseErr error
	// Stall is how long a writer of a Redis master can have waited, at most; 0 without a pause.
	Stall time.Duration
}

// Place is how far the log of a shard had come.
type Place struct {
	Shard targets.ShardID
	targets.Position
}

// Burst looks closely for a moment: dense rounds on all shards. What was seen is in as
// many vaults as the policy asks for when it returns. Bursts come one after the other. An error of
// During is returned as it is.
func (w *Watcher) Burst(ctx context.Context, o BurstOptions) (Burst, error) {
	select {
	case w.bursting <- struct{}{}:
	case <-ctx.Done():
		return Burst{}, fail.From(fail.Stalled, op, w.o.Group, ctx.Err())
	}

	b, err := w.look(ctx, o)
	<-w.bursting

	if err != nil {
		return b, err
	}

	return b, w.stored(ctx)
}

// look is a burst that is not stored yet.
func (w *Watcher) look(ctx context.Context, o BurstOptions) (Burst, error) {
	b := Burst{Observer: w.by.Name()}
	lead := w.by.Now()

	end := w.waves.begin()
	defer end()

	w.await(ctx, func(s *seat) bool { return s.latest() >= lead })
	absent := w.absent(func(s *seat) bool { return s.latest() >= lead })

	b.From, b.Began = w.by.Now(), time.Now().UTC()

	err := w.inside(ctx, o, &b)
	b.To, b.Ended = w.by.Now(), time.Now().UTC()
	w.waves.send() // those in a lull
	w.await(ctx, func(s *seat) bool { return s.latest() >= b.To || slices.Contains(absent, s) })

	missing := w.absent(func(s *seat) bool { return s.latest() >= b.To && !slices.Contains(absent, s) })
	for _, s := range w.seats {
		if !slices.Contains(missing, s) {
			s.mu.Lock()
			b.Places = append(b.Places, Place{s.Shard.Shard, s.place})
			s.mu.Unlock()
		}
	}

	if o.Placed != nil {
		o.Placed(b.Places)
	}

	for _, s := range missing {
		why := s.why()
		if why == nil {
			why = errors.New("its server did not answer in time")
		}

		s.mu.Lock()
		b.Missing = append(b.Missing, Failing{Shard: s.Shard.Shard, Since: s.since, Err: inALine(why)})
		s.mu.Unlock()
	}

	return b, err
}

// inside does what a burst is for.
func (w *Watcher) inside(ctx context.Context, o BurstOptions, b *Burst) error {
	length := o.For
	if length <= 0 {
		length = burstFor
	}

	switch {
	case o.During != nil:
		return w.holding(ctx, o, length, b)
	case !o.Pause:
		return retry.Sleep(ctx, length)
	}

	if err := retry.Sleep(ctx, length/2); err != nil {
		return err
	}
	b.Stall, b.PauseErr = w.pause(ctx, o.PauseFor)

	return retry.Sleep(ctx, length/2)
}

// holding does it within what the caller holds. The writers' pause begins and ends in there: else the
// two could miss each other, and there were no instant that is in both.
func (w *Watcher) holding(ctx context.Context, o BurstOptions, length time.Duration, b *Burst) error {
	var pausing sync.WaitGroup

	err := o.During(ctx, func(ctx context.Context) error {
		if !o.Pause {
			return retry.Sleep(ctx, length)
		}

		began, done := w.by.Now(), make(chan struct{})

		pausing.Go(func() {
			defer close(done)
			b.Stall, b.PauseErr = w.pause(ctx, o.PauseFor)
		})

		select {
		case <-done:
		case <-ctx.Done():
			return w.slow(began, ctx.Err())
		}

		if b.PauseErr != nil { // they may stand still by themselves
			return retry.Sleep(ctx, length)
		}

		return nil
	})

	pausing.Wait() // what is held is not held for this

	return err
}

// slow names the masters that have not answered since an instant.
func (w *Watcher) slow(since clock.Instant, cause error) error {
	var names []string
	for _, s := range w.masters() {
		if s.latest() < since {
			names = append(names, s.Shard.Shard.String())
		}
	}

	return fail.New(fail.Stalled, "pause writers", strings.Join(names, ", "), "see how long these Redis masters take to answer", cause)
}

// masters are the seats of the Redis masters.
func (w *Watcher) masters() (out []*seat) {
	for _, s := range w.seats {
		if s.Kind == targets.Redis {
			out = append(out, s)
		}
	}

	return out
}

// pause lets the writers of all Redis masters wait for a moment, and observes that
// they stand still. It fails where not all could be paused at one time; those that were have gone on.
// It tells how long a writer can have waited, at most.
//
// A context that ends cuts no exchange off, which would cost the connection: nothing more is begun.
func (w *Watcher) pause(ctx context.Context, hold time.Duration) (time.Duration, error) {
	if hold <= 0 {
		hold = pauseFor
	}

	masters := w.masters()
	asking := context.WithoutCancel(ctx) // each answer has a limit of its own

	// Resumed whatever comes, also when the caller is gone.
	defer func() {
		rctx, cancel := context.WithTimeout(asking, resumeWithin)
		defer cancel()
		_ = each(masters, func(s *seat) error { return s.paused(rctx, observation.Pauser.Resume) })
	}()

	lease, began := leased(hold, masters), time.Now()
	still := func(s *seat) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}

		return s.observe(asking)
	}

	err := each(masters, func(s *seat) error {
		return s.paused(asking, func(p observation.Pauser, ctx context.Context) error { return p.Pause(ctx, lease) })
	})
	if err != nil {
		return lease, err
	}

	if err := each(masters, still); err != nil {
		return lease, err
	}
	_ = retry.Sleep(ctx, hold)

	if err := each(masters, still); err != nil {
		return lease, err
	}

	if took := time.Since(began); took > lease { // one may have gone on before another stood still
		return lease, fail.Newf(fail.Stalled, "pause writers", w.o.Group, "it took %s to pause and ask all Redis masters, and the pause ends after %s", took, lease)
	}

	return lease, nil
}

// leased is for how long a server lets its writers wait if nobody ends it.
func leased(hold time.Duration, masters []*seat) time.Duration {
	var far time.Duration
	for _, s := range masters {
		s.mu.Lock()
		far = max(far, s.trip)
		s.mu.Unlock()
	}

	return hold + min(leaseFor+2*far, longestLease)
}

// paused does something about the pause of a seat's server.
func (s *seat) paused(ctx context.Context, f func(observation.Pauser, context.Context) error) error {
	return s.use(ctx, func(ctx context.Context, session observation.Session) error {
		p, ok := session.(observation.Pauser)
		if !ok {
			return fail.Newf(fail.Unsupported, "pause writers", s.Shard.Shard.String(), "its driver cannot")
		}

		return f(p, ctx)
	})
}

// each calls f for all at once, and joins the errors.
func each(seats []*seat, f func(*seat) error) error {
	errs := make([]error, len(seats))
	var all sync.WaitGroup

	for i, s := range seats {
		all.Go(func() { errs[i] = f(s) })
	}

	all.Wait()

	return errors.Join(errs...)
}

// await waits until all seats that are observed have what is asked for, within reason.
func (w *Watcher) await(ctx context.Context, has func(*seat) bool) {
	ctx, cancel := context.WithTimeout(ctx, leadWithin)
	defer cancel()

	for {
		if !slices.ContainsFunc(w.seats, func(s *seat) bool { return !has(s) && s.why() == nil }) {
			return
		}

		if retry.Sleep(ctx, gap/2) != nil {
			return
		}
	}
}

// absent are the seats without what is asked for.
func (w *Watcher) absent(has func(*seat) bool) (out []*seat) {
	for _, s := range w.seats {
		if !has(s) {
			out = append(out, s)
		}
	}

	return out
}

// stored hands over what was collected, and waits until all that was handed over
// is in as many vaults as the policy asks for.
func (w *Watcher) stored(ctx context.Context) error {
	w.flush()

	for _, p := range w.keep.undone() {
		select {
		case <-p.done:
			if p.err != nil {
				return p.err
			}
		case <-ctx.Done():
			return fail.New(fail.Stalled, op, w.o.Group, "bring the vaults back", errors.Join(ctx.Err(), w.keep.why()))
		}
	}

	return nil
}

// undone are the batches that are not durable yet.
func (k *keeper) undone() (out []*pending) {
	k.mu.Lock()
	defer k.mu.Unlock()

	for _, p := range k.waiting {
		if !p.durable {
			out = append(out, p)
		}
	}

	return out
}

// why is the trouble with the vaults; nil when there is none.
func (k *keeper) why() error {
	k.mu.Lock()
	defer k.mu.Unlock()

	return k.trouble
}
