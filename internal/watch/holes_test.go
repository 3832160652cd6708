package watch

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/observation"
	"drctl/internal/observation/batches"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// stepping is a server whose clock is stepped.
type stepping struct{ by atomic.Int64 }

func (s *stepping) Session(context.Context, targets.Instance) (observation.Session, error) {
	return s, nil
}
func (s *stepping) Server() string { return "run" }
func (s *stepping) Close()         {}

func (s *stepping) Observe(_ context.Context, by *observation.Observer) (observation.Observation, error) {
	t0, now := by.Now(), time.Now()

	return observation.Observation{Timeline: "7310000000000000001-00000001", Flushed: 10, Inserted: 10,
		Sample: clock.Sample{T0: t0, Stamp: clock.Stamp(now.UnixNano() + s.by.Load()), T1: by.At(now), Wall: clock.Stamp(now.UnixNano())}}, nil
}

// Each batch names the steps of clocks that its observer has noticed so far.
func TestStepsAreNoted(t *testing.T) {
	w := newWorld(t, "east")
	shard := targets.ShardID{Target: "orders", Shard: "0"}
	server := &stepping{}

	o := w.options()
	o.Shards = []Shard{{Shard: shard, Kind: targets.Postgres}}
	o.Resolve = func(context.Context, targets.ShardID) (targets.Instance, observation.Observable, error) {
		return targets.Instance{Shard: shard, Kind: targets.Postgres}, server, nil
	}

	x := New(o)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})

	go func() { defer close(done); x.Run(ctx) }()

	defer func() { stop(); <-done }()

	noted := func(n int) func() bool {
		return func() bool {
			b, err := batches.Newest(t.Context(), w.set.Vaults[0], "shop")
			return err == nil && len(steps(b)) == n && !b.Noted.IsZero()
		}
	}

	until(t, "nothing is noted", noted(0))
	server.by.Add(int64(2 * time.Second))
	until(t, "a step is noted", noted(1))
	server.by.Add(-int64(5 * time.Second))
	until(t, "both are noted", noted(2))

	b, err := batches.Newest(t.Context(), w.set.Vaults[0], "shop")
	if err != nil {
		t.Fatal(err)
	}

	for i, want := range []time.Duration{2 * time.Second, -5 * time.Second} {
		if h := steps(b)[i]; h.Shard != shard || h.Least > want || h.Most < want || h.Most-h.Least > time.Minute || h.To.Before(h.From) {
			t.Errorf("step %d of %s is noted as %+v", i, want, h)
		}
	}
}

// steps are the holes that are steps of a clock: on a slow machine a shard may not be
// asked for long as well.
func steps(b observation.Batch) []observation.Hole {
	return slices.DeleteFunc(slices.Clone(b.Holes), func(h observation.Hole) bool { return !h.Stepped() })
}

// A shard that was not asked for long is noted, while that lasts and afterwards.
func TestShardsThatWereNotAskedAreNoted(t *testing.T) {
	w := newWorld(t)
	o := w.options()
	o.Shards = []Shard{{Shard: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres}}
	x := New(o)
	s := x.seats[0]
	s.trouble = errors.New("connection refused")

	now := time.Now()
	if h, ok := s.hole(now.Add(2 * away)); !ok || !h.To.Equal(now.Add(2*away)) || h.Why != "connection refused" {
		t.Errorf("it is not observed, and noted is %+v, %v", h, ok)
	}

	if _, ok := s.hole(now.Add(away / 2)); ok {
		t.Error("noted after a moment")
	}

	sample := func(at time.Duration) observation.Observation {
		return observation.Observation{Sample: clock.Sample{T0: clock.Instant(at), T1: clock.Instant(at), Stamp: clock.Stamp(now.UnixNano() + int64(at)), Wall: clock.Stamp(now.UnixNano() + int64(at))}}
	}
	last := lastSeen{sample(time.Second), "run"}

	if h, ok := s.before(last, sample(time.Second+2*away), s.trouble); !ok || h.To.Sub(h.From) != 2*away || h.Why != "connection refused" || h.Stepped() {
		t.Errorf("afterwards: %+v, %v", h, ok)
	}

	if h, ok := s.before(last, sample(time.Second+away/2), nil); ok {
		t.Errorf("after a moment: %+v", h)
	}
}

// A batch names as many holes as it may, and says from when on it names all.
func TestHolesAreForgotten(t *testing.T) {
	h := holes{since: time.Unix(1000, 0)}
	for i := range observation.MaxHoles + 10 {
		h.add(observation.Hole{Shard: targets.ShardID{Target: "orders", Shard: "0"}, From: time.Unix(2000+int64(i), 0), To: time.Unix(2001+int64(i), 0), Why: "x"})
	}

	var b observation.Batch
	h.put(&b, make([]observation.Hole, 3))

	if len(b.Holes) != observation.MaxHoles || !b.Noted.Equal(time.Unix(2001+12, 0)) || strings.Contains(b.Holes[len(b.Holes)-1].Why, "x") {
		t.Errorf("%d holes, from %s, the last %+v", len(b.Holes), b.Noted, b.Holes[len(b.Holes)-1])
	}
}

// A group of a thousand shards: all are observed, a burst sees all of them, and no batch outgrows what may be
// held and stored.
func TestAThousandShards(t *testing.T) {
	const shards, most = 1000, 8 << 20

	w := newWorld(t, "east")
	o := w.options()

	for i := range shards {
		o.Shards = append(o.Shards, Shard{Shard: targets.ShardID{Target: "orders", Shard: fmt.Sprint(i)}, Kind: targets.Postgres})
	}

	o.Resolve = func(_ context.Context, s targets.ShardID) (targets.Instance, observation.Observable, error) {
		return targets.Instance{Shard: s, Kind: targets.Postgres}, &stepping{}, nil
	}

	x := New(o)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})

	go func() { defer close(done); x.Run(ctx) }()

	observed(t, x)

	// A machine that is busy may need more than one.
	until(t, "a burst sees all shards", func() bool {
		b, err := x.Burst(t.Context(), BurstOptions{})
		if err != nil || len(b.Places)+len(b.Missing) != shards {
			t.Fatalf("the burst saw %d shards, and missed %d, %v", len(b.Places), len(b.Missing), err)
		}

		return len(b.Missing) == 0
	})

	stop()
	<-done

	all, damaged, err := batches.Read(t.Context(), w.set.Vaults[0], "shop", time.Now().Add(-time.Hour), time.Now().Add(time.Minute))
	if err != nil || len(damaged) > 0 {
		t.Fatal(damaged, err)
	}
	seen, largest := map[targets.ShardID]bool{}, 0

	for _, batch := range all {
		content, err := observation.Encode(batch)
		if err != nil {
			t.Fatal(err)
		}
		largest = max(largest, len(content))

		for _, s := range batch.Shards {
			seen[s.Shard] = seen[s.Shard] || len(s.Observations) > 0
		}
	}

	t.Logf("%d batches, the largest has %d KiB", len(all), largest>>10)

	if len(seen) != shards || largest > most {
		t.Errorf("%d of %d shards are in the vault, the largest batch has %d bytes", len(seen), shards, largest)
	}
}
