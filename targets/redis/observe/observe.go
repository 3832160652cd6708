package observe

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"drctl/internal/fail"
	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/targets"
	"drctl/targets/redis/reply"
)

const (
	opObserve = "observe"
	// burst is how often a server is asked for one observation: the first answer
	// after a pause is often the slowest.
	burst = 3
	// stale is after how long an answer says nothing any more about whether the
	// stream stood still until the next one: so that a batch stays short.
	stale = 10 * time.Second
)

// Session asks one server over one connection. It implements observation.Session
// and observation.Pauser.
type Session struct {
	client *goredis.Client
	in     targets.Instance
	run    string
	// last is the newest answer, and still since when the stream stood where it says.
	last  answer
	still clock.Instant
	moved time.Time // when the stream was last seen to have moved
	ours  bool      // the server is paused by this session, and by nobody else
}

// answer is what INFO said between t0 and t1.
type answer struct {
	t0, t1   clock.Instant
	wall     clock.Stamp
	run      string
	timeline string
	offset   uint64
}

func (a answer) same(b answer) bool {
	return a.run == b.run && a.timeline == b.timeline && a.offset == b.offset
}

// Open begins to ask a server through a client of one connection, which the session
// closes from then on. After an error it is still the caller's.
func Open(ctx context.Context, client *goredis.Client, in targets.Instance) (*Session, error) {
	s := &Session{client: client, in: in}

	a, err := s.ask(ctx, observation.NewObserver())
	if err != nil {
		return nil, err
	}
	s.run = a.run

	return s, nil
}

// Server is the server's run id.
func (s *Session) Server() string { return s.run }

// Close ends the connection. It may be repeated.
func (s *Session) Close() { _ = s.client.Close() }

// Observe asks the server three times. If the stream has not moved since the first
// of them, or since the last call, it stood still from then on. Else the answer is kept
// whose instant is known best. A replica is a conflict.
func (s *Session) Observe(ctx context.Context, by *observation.Observer) (observation.Observation, error) {
	var best answer

	for i := range burst {
		a, err := s.ask(ctx, by)
		if err != nil {
			return observation.Observation{}, err
		}

		if a.run != s.run {
			return observation.Observation{}, fail.New(fail.Unavailable, opObserve, s.in.String(), "", errors.New("the server was restarted"))
		}

		if s.last.run != "" && !a.same(s.last) {
			s.moved = time.Now()
		}

		if !a.same(s.last) || a.t0-s.last.t1 > clock.Instant(stale) {
			s.still = a.t1
		}

		if s.last = a; i == 0 || a.t1-a.t0 < best.t1-best.t0 {
			best = a
		}
	}

	o := observation.Observation{Sample: clock.Sample{T0: best.t0, T1: best.t1, Wall: best.wall}, Timeline: best.timeline,
		Flushed: best.offset, Inserted: best.offset}

	if s.still < s.last.t0 { // two answers, the one before T0 and the other after T1, that are the same
		o.T0, o.T1, o.Wall, o.Paused = s.still, s.last.t0, s.last.wall-clock.Stamp(s.last.t1-s.last.t0), true
		o.Flushed, o.Inserted, o.Timeline = s.last.offset, s.last.offset, s.last.timeline
		s.still = s.last.t0 // the next one goes on from here
	}

	return o, nil
}

// ask makes one round trip.
func (s *Session) ask(ctx context.Context, by *observation.Observer) (answer, error) {
	a := answer{t0: by.Now()}
	text, err := s.client.Info(ctx, "server", "replication").Result()
	now := time.Now() // one reading for both: nothing comes between
	a.t1, a.wall = by.At(now), clock.Stamp(now.UnixNano())

	if err != nil {
		return a, s.refused(err)
	}

	said := map[string]string{}
	for line := range strings.Lines(text) {
		if k, v, ok := strings.Cut(strings.TrimRight(line, "\r\n"), ":"); ok {
			said[k] = v
		}
	}

	switch {
	case said["role"] != "master":
		return a, fail.New(fail.Conflict, opObserve, s.in.String(), "observe the primary", errors.New("this is a replica"))
	case said["repl_backlog_active"] != "1":
		return a, fail.New(fail.Unavailable, opObserve, s.in.String(), "its archiver has not begun; drctl status says why, and drctl up starts it",
			errors.New("the server has no replica and no backlog, so it does not number its writes"))
	}

	a.run, a.timeline = said["run_id"], said["master_replid"]

	a.offset, err = strconv.ParseUint(said["master_repl_offset"], 10, 64)
	if err != nil || a.run == "" || targets.Redis.CheckTimeline(a.timeline) != nil {
		return a, fail.Newf(fail.Internal, opObserve, s.in.String(), "the server says run %.80q, replication id %.80q, offset %.80q",
			a.run, a.timeline, said["master_repl_offset"])
	}

	return a, nil
}

// refused says why there is no answer.
func (s *Session) refused(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fail.New(fail.Stalled, opObserve, s.in.String(), "the server did not answer in time; look at its load (SLOWLOG) and at the network", err)
	}

	if errors.Is(err, context.Canceled) {
		return err
	}
	code, hint := reply.Meaning(err)

	return fail.New(code, opObserve, s.in.String(), hint, err)
}
