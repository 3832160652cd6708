package watch

import (
	"slices"
	"sync"
	"time"

	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// away is how long nobody may ask a shard's server before that is a hole.
const away = 10 * time.Second

// holes are what the observer has noticed so far. Each batch names the newest of them.
type holes struct {
	mu     sync.Mutex
	closed []observation.Hole // in the order in which they were noticed
	since  time.Time          // from when on they are all there
}

// add notes one that is over.
func (h *holes) add(one observation.Hole) {
	h.mu.Lock()
	defer h.mu.Unlock()

	h.closed = append(h.closed, one)
}

// put names the holes in a batch: those that are open, as many as there is room for, and the newest that are
// over. What there is no room for any more is forgotten, and the batch says so.
func (h *holes) put(b *observation.Batch, open []observation.Hole) {
	h.mu.Lock()
	defer h.mu.Unlock()

	open = open[:min(len(open), observation.MaxHoles)]
	for len(h.closed)+len(open) > observation.MaxHoles {
		if h.closed[0].To.After(h.since) {
			h.since = h.closed[0].To
		}
		h.closed = h.closed[1:]
	}

	b.Holes, b.Noted = append(slices.Clone(h.closed), open...), h.since
}

// before is what there is to note of a shard between two of its observations; the first has no server
// where there was none. Why is what kept it from being asked.
func (s *seat) before(last lastSeen, o observation.Observation, why error) (h observation.Hole, ok bool) {
	h = observation.Hole{Shard: s.Shard.Shard, From: s.w.started.UTC(), To: wallOf(o)}
	if last.server != "" {
		h.From = wallOf(last.Observation)
	}

	if h.To.Before(h.From) { // the observer's own clock was stepped
		h.From, h.To = h.To, h.From
	}

	if o.T0-last.T1 > clock.Instant(away) {
		h.Why = "it was not asked"
		if why != nil {
			h.Why = inALine(why)
		}

		return h, true
	}

	if s.Kind != targets.Postgres || last.server == "" {
		return h, false
	}

	step, ok := clock.StepBetween(last.Sample, o.Sample)
	h.Least, h.Most = time.Duration(step.Least), time.Duration(step.Most)

	return h, ok && h.Stepped()
}

func wallOf(o observation.Observation) time.Time { return time.Unix(0, int64(o.Wall)).UTC() }

// lastSeen is the newest observation of a shard, and the run of the server that it is of.
type lastSeen struct {
	observation.Observation
	server string
}

// open are the holes of the shards that are not observed now.
func (w *Watcher) open(until time.Time) (all []observation.Hole) {
	for _, s := range w.seats {
		if h, ok := s.hole(until); ok {
			all = append(all, h)
		}
	}

	return all
}

// hole is that of a shard that is not observed now, if it is one already.
func (s *seat) hole(until time.Time) (h observation.Hole, ok bool) {
	why := s.why()

	s.mu.Lock()
	defer s.mu.Unlock()

	h = observation.Hole{Shard: s.Shard.Shard, From: s.since.Round(0).UTC(), To: until}
	if why == nil || until.Sub(h.From) < away {
		return h, false
	}
	h.Why = inALine(why)

	return h, true
}
