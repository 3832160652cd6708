package watch

import (
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

const (
	// fullAt is how many observations a batch has at most before it is handed over.
	fullAt = observation.MaxObservations / 2
	// stepped is by how much the observer's wall clock may move against its monotonic
	// one within a batch.
	stepped = time.Second
	// longest is how long a batch may take, for when this process was held up.
	longest = observation.MaxTook / 2
	// tellEvery is how often it is written down that nothing could be observed.
	tellEvery = time.Minute
	// maxTrouble bounds the text of a trouble.
	maxTrouble = 300
)

// collector makes batches of observations.
type collector struct {
	w *Watcher

	mu    sync.Mutex
	seen  []observation.Seen // in the order of the first observation
	at    map[runOf]int      // where in seen a run of a server is
	count int
	wall  int64 // the wall clock less the observer's, of the batch
	first clock.Instant
	told  time.Time // when it was last written down that there is nothing
}

// runOf is a run of a shard's server.
type runOf struct {
	shard  targets.ShardID
	server string
}

// add takes an observation in.
func (c *collector) add(s Shard, server string, o observation.Observation) {
	c.mu.Lock()
	defer c.mu.Unlock()
	wall := int64(o.Wall) - int64(o.T1)

	if c.count >= fullAt || c.count > 0 && (time.Duration(max(wall-c.wall, c.wall-wall)) > stepped || time.Duration(o.T1-c.first) > longest) {
		c.w.keep.add(c.make())
	}

	if c.count == 0 {
		c.wall, c.first = wall, o.T0
	}

	i, ok := c.at[runOf{s.Shard, server}]
	if !ok {
		if c.at == nil {
			c.at = map[runOf]int{}
		}
		i = len(c.seen)
		c.at[runOf{s.Shard, server}] = i
		c.seen = append(c.seen, observation.Seen{Shard: s.Shard, Kind: s.Kind, Server: server})
	}
	c.seen[i].Observations = append(c.seen[i].Observations, o)
	c.count++
}

// take returns what was collected as a batch, and begins the next one. It is false
// where there is nothing to tell.
func (c *collector) take() (observation.Batch, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()

	if c.count == 0 && time.Since(c.told) < tellEvery {
		return observation.Batch{}, false
	}

	return c.make(), true
}

// make needs mu.
func (c *collector) make() observation.Batch {
	now := c.w.by.Now()
	b := observation.Batch{Group: c.w.o.Group, Observer: c.w.by.Name(), Queue: c.w.o.Queue, Since: now, Until: now}

	c.told = time.Now() // any batch tells that the observer lives
	if c.count == 0 {
		c.wall = c.told.UnixNano() - int64(now)
	} else {
		b.Since, b.Until = span(c.seen)
	}

	b.Began = time.Unix(0, c.wall+int64(b.Since)).UTC()
	b.Ended = time.Unix(0, c.wall+int64(b.Until)).UTC()
	b.Shards = c.withTroubles()
	c.w.holes.put(&b, c.w.open(b.Ended))
	c.seen, c.at, c.count = nil, nil, 0

	return b
}

// span encloses the instants of observations.
func span(seen []observation.Seen) (since, until clock.Instant) {
	first := true
	for _, s := range seen {
		for _, o := range s.Observations {
			if first {
				since, until, first = o.T0, o.T1, false
			}
			since, until = min(since, o.T0), max(until, o.T1)
		}
	}

	return since, until
}

// withTroubles adds why there is little or nothing of a shard. It needs mu.
func (c *collector) withTroubles() []observation.Seen {
	out := c.seen

	for _, s := range c.w.seats {
		err := s.why()
		if err == nil {
			continue
		}

		last := -1
		for i := range out {
			if out[i].Shard == s.Shard.Shard {
				last = i
			}
		}

		if last < 0 {
			last = len(out)
			out = append(out, observation.Seen{Shard: s.Shard.Shard, Kind: s.Shard.Kind})
		}
		out[last].Trouble = inALine(err)
	}

	slices.SortStableFunc(out, func(a, b observation.Seen) int { return a.Shard.Compare(b.Shard) })

	return out
}

// inALine writes an error as a batch, or a status, may hold it.
func inALine(err error) string {
	text := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}

		return r
	}, strings.ToValidUTF8(err.Error(), "?"))

	if len(text) > maxTrouble {
		text = strings.ToValidUTF8(text[:maxTrouble], "") + " [cut off]"
	}

	return text
}
