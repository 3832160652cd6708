package watch

import (
	"context"
	"errors"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/internal/retry"
	"drctl/targets"
)

// seat is the place of one shard: it holds the connection to its primary.
type seat struct {
	w *Watcher
	Shard
	hold chan struct{} // holds one token: whoever has it uses the session

	mu      sync.Mutex
	session observation.Session // nil without a connection; set and used by who holds
	newest  lastSeen            // used by who holds
	in      targets.Instance
	last    clock.Instant    // T0 of the newest observation
	trip    time.Duration    // how long an observation takes
	place   targets.Position // how far its log had come then
	seen    time.Time        // when that was; zero before the first
	since   time.Time        // since when the shard is not observed; zero when it is
	trouble error
}

func newSeat(w *Watcher, s Shard) *seat {
	return &seat{w: w, Shard: s, hold: make(chan struct{}, 1), since: time.Now()}
}

// run keeps a connection to the primary and asks it with every wave, until the
// context ends.
func (s *seat) run(ctx context.Context) {
	backoff := retry.Policy{First: 250 * time.Millisecond, Max: 15 * time.Second}.Start()

	for ctx.Err() == nil {
		err := s.open(ctx)
		if err == nil {
			err = s.ask(ctx)
			s.close()

			if s.why() == nil { // it was observed
				backoff.Reset()
			}
		}

		if ctx.Err() != nil {
			return
		}

		if err != nil {
			s.failed(ctx, err)
		}

		if backoff.Wait(ctx) != nil {
			return
		}
	}
}

// open finds the primary and connects to it.
func (s *seat) open(parent context.Context) error {
	ctx, cancel := context.WithTimeout(parent, connectWithin)
	defer cancel()

	leave, err := s.w.opens.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()

	in, how, err := s.w.o.Resolve(ctx, s.Shard.Shard)
	if err != nil {
		return err
	}

	session, err := how.Session(ctx, in)
	if err != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	s.session, s.in = session, in

	return nil
}

func (s *seat) close() {
	s.hold <- struct{}{}
	defer func() { <-s.hold }()

	s.mu.Lock()
	session := s.session
	s.session = nil
	s.mu.Unlock()

	if session != nil {
		session.Close()
	}
}

// ask observes with every wave until something fails, or another server is the primary.
func (s *seat) ask(ctx context.Context) error {
	moved := make(chan struct{})
	looking, stop := context.WithCancel(ctx)
	defer stop()

	go func() {
		if s.moves(looking) {
			close(moved)
		}
	}()

	for {
		wave := s.w.waves.wait()

		for n := range rounds {
			if n > 0 && retry.Sleep(ctx, gap) != nil {
				return ctx.Err()
			}

			if err := s.observe(ctx); err != nil {
				return err
			}
		}

		again, stop := s.again()

		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-moved:
			return nil
		case <-wave:
		case <-again:
		}

		stop()
	}
}

// again is when the seat asks without a wave: soon, while a burst looks closely.
func (s *seat) again() (at <-chan time.Time, stop func() bool) {
	if !s.w.waves.densely() {
		return nil, func() bool { return false }
	}

	wait := lull
	if s.Kind == targets.Redis {
		wait = gap // each answer may be the place of the cut
	}
	t := time.NewTimer(wait)

	return t.C, t.Stop
}

// moves waits until another server is the primary, and reports whether one is.
func (s *seat) moves(ctx context.Context) bool {
	for retry.Sleep(ctx, lookAgain) == nil {
		looking, stop := context.WithTimeout(ctx, connectWithin)
		in, _, err := s.w.o.Resolve(looking, s.Shard.Shard)

		stop()
		s.mu.Lock()
		same := in.Address == s.in.Address && in.Region == s.in.Region
		s.mu.Unlock()

		if err == nil && !same {
			return true
		}
	}

	return false
}

// observe asks once.
func (s *seat) observe(ctx context.Context) error {
	return s.use(ctx, func(ctx context.Context, session observation.Session) error {
		leave, err := s.w.asks.enter(ctx)
		if err != nil {
			return err
		}

		began := time.Now()
		o, err := session.Observe(ctx, s.w.by)
		took := time.Since(began)

		leave()

		if err != nil {
			return err
		}

		if h, ok := s.before(s.newest, o, s.why()); ok {
			s.w.holes.add(h)
		}
		s.newest = lastSeen{o, session.Server()}

		s.w.batch.add(s.Shard, session.Server(), o)
		s.mu.Lock()
		defer s.mu.Unlock()

		if !s.since.IsZero() {
			s.w.o.Log.InfoContext(ctx, "the shard is observed", logs.Shard, s.Shard.Shard.String(), "instance", s.in.String())
		}
		s.last, s.seen, s.since, s.trouble = o.T0, time.Now(), time.Time{}, nil

		if s.trip == 0 || took < s.trip+s.trip/4 { // one that is slow for a moment is not far
			s.trip = took
		} else {
			s.trip += s.trip / 4
		}
		s.place = targets.Position{Kind: s.Kind, Timeline: o.Timeline, Offset: o.Inserted}

		return nil
	})
}

// errNoSession is why a shard that has no connection cannot be asked.
var errNoSession = errors.New("there is no connection to its primary")

// use gives the session to f alone, for as long as an answer may take.
func (s *seat) use(parent context.Context, f func(context.Context, observation.Session) error) error {
	ctx, cancel := context.WithTimeout(parent, answerWithin)
	defer cancel()

	select {
	case s.hold <- struct{}{}:
	case <-ctx.Done():
		return fail.From(fail.Stalled, op, s.Shard.Shard.String(), ctx.Err())
	}
	defer func() { <-s.hold }()

	s.mu.Lock()
	session := s.session
	s.mu.Unlock()

	if session == nil {
		return fail.New(fail.Unavailable, op, s.Shard.Shard.String(), "", errNoSession)
	}

	return f(ctx, session)
}

const op = "observe"

// failed notes why the shard is not observed.
func (s *seat) failed(ctx context.Context, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	if s.trouble == nil || s.since.IsZero() {
		s.w.o.Log.WarnContext(ctx, "the shard is not observed", logs.Shard, s.Shard.Shard.String(), logs.Err, err)
	}

	if s.since.IsZero() {
		s.since = time.Now()
	}
	s.trouble = err
}

// why says what keeps the shard from being observed; nil when it is.
func (s *seat) why() error {
	s.mu.Lock()
	defer s.mu.Unlock()

	switch {
	case s.since.IsZero():
		return nil
	case s.trouble == nil:
		return errNoSession
	}

	return s.trouble
}

// latest is T0 of the newest observation.
func (s *seat) latest() clock.Instant {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.last
}
