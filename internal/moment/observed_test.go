package moment

import (
	"slices"
	"testing"
	"time"

	"drctl/internal/fail"
	"drctl/internal/moment/words"
	"drctl/internal/observation"
	"drctl/internal/proof"
	"drctl/internal/proof/clock"
	"drctl/internal/proof/shardlog"
	"drctl/targets"
)

var orders = targets.ShardID{Target: "orders", Shard: "0"}

// saw is what a server said from one instant to another, every 10, in seconds; it had flushed as many bytes.
func saw(server, timeline string, from, to int) observation.Batch {
	s := observation.Seen{Shard: orders, Kind: targets.Postgres, Server: server}
	for at := from; at < to; at += 10 {
		i := clock.Instant(at) * 1e9
		s.Observations = append(s.Observations, observation.Observation{Timeline: timeline, Flushed: uint64(at), Inserted: uint64(at),
			Sample: clock.Sample{T0: i, T1: i + 1e6, Stamp: clock.Stamp(i), Wall: clock.Stamp(i)}})
	}

	return observation.Batch{Group: "shop", Observer: "A", Since: clock.Instant(from) * 1e9, Until: clock.Instant(to) * 1e9, Shards: []observation.Seen{s}}
}

// One run of one server is looked at; two that wrote one timeline at one time are refused.
func TestOneServer(t *testing.T) {
	for name, x := range map[string]struct {
		batches []observation.Batch
		until   int
		server  string
		first   int
		refused bool
	}{
		"one":                   {[]observation.Batch{saw("a", "1", 0, 100)}, 95, "a", 0, false},
		"restarted":             {[]observation.Batch{saw("a", "1", 0, 100), saw("b", "1", 100, 200)}, 195, "b", 100, false},
		"before it":             {[]observation.Batch{saw("a", "1", 0, 100), saw("b", "1", 100, 200)}, 95, "a", 0, false},
		"promoted":              {[]observation.Batch{saw("a", "1", 0, 100), saw("b", "2", 100, 200)}, 195, "b", 100, false},
		"the old one lives":     {[]observation.Batch{saw("a", "1", 0, 190), saw("b", "2", 100, 200)}, 195, "b", 100, false},
		"two were promoted":     {[]observation.Batch{saw("a", "2", 0, 150), saw("b", "2", 100, 200)}, 195, "", 0, true},
		"turn by turn":          {[]observation.Batch{saw("a", "2", 0, 50), saw("b", "2", 50, 100), saw("a", "2", 100, 150)}, 140, "", 0, true},
		"turn by turn, and two": {[]observation.Batch{saw("a", "2", 0, 50), saw("b", "2", 50, 100), saw("a", "2", 100, 150)}, 95, "b", 50, false},
	} {
		s := sorted(x.batches)[0]

		r, err := s.of(orders, clock.Instant(x.until)*1e9)
		if x.refused {
			if !fail.Is(err, fail.Conflict) {
				t.Errorf("%s: %v", name, err)
			}

			continue
		}

		if err != nil || r.server != x.server || len(r.all) == 0 || r.all[0].T0 != clock.Instant(x.first)*1e9 {
			t.Errorf("%s: %v %+v", name, err, r)
		}
	}
}

// Instants of two observers are not put together.
func TestObserversAreApart(t *testing.T) {
	a, b := saw("a", "1", 0, 100), saw("a", "1", 100, 200)
	b.Observer = "B"
	b.Began, b.Ended = time.Unix(5, 0), time.Unix(6, 0)

	all := sorted([]observation.Batch{b, a})
	if len(all) != 2 || all[0].observer != "A" || len(all[0].runs[orders][0].all) != 10 || len(all[1].samples) != 10 {
		t.Errorf("%+v", all)
	}
}

// A master is marked while it stands still, one time after the other, and while it goes on.
func TestMarkers(t *testing.T) {
	b := saw("a", "r", 0, 100)
	s := sorted([]observation.Batch{b})[0]
	within := proof.Span{From: 20e9, To: 60e9}

	if still, moving := s.markers(orders, within); len(still.Markers) != 0 || moving.Paused || len(moving.Markers) != 5 || moving.Markers[0].Position != 20 {
		t.Errorf("%+v %+v", still, moving)
	}

	for _, i := range []int{3, 4} {
		b.Shards[0].Observations[i].Paused = true
	}

	b.Shards[0].Observations[3].T1 = 45e9 // it ends in the other
	s = sorted([]observation.Batch{b})[0]

	if still, moving := s.markers(orders, within); !still.Paused || len(still.Markers) != 1 || still.Markers[0].Position != 30 || len(moving.Markers) != 3 {
		t.Errorf("%+v %+v", still, moving)
	}
}

// A log with a commit that its server cannot have made yet is of another.
func TestForeignLog(t *testing.T) {
	s := sorted([]observation.Batch{saw("a", "1", 0, 100)})[0]
	r, _ := s.of(orders, 99e9)

	res := &shardlog.Result{}
	for _, o := range r.all {
		res.Samples = append(res.Samples, o.Sample)
	}

	for at := uint64(0); at < 90; at += 2 { // the bytes up to 30 were flushed at 30 s
		res.Records = append(res.Records, proof.Record{Start: at, End: at + 1, Stamp: clock.Stamp(at) * 1e9, Kind: proof.Commit})
	}

	if foreign(res, r.all) {
		t.Error("its own log is foreign")
	}
	later := slices.Clone(res.Records)

	for i := range later {
		later[i].Stamp += 20e9
	}
	res.Records = later

	if !foreign(res, r.all) {
		t.Error("a log that is 20 s ahead is its own")
	}
}

// What was prepared later than that lies behind the place.
func TestPreparedSince(t *testing.T) {
	s := sorted([]observation.Batch{saw("a", "1", 0, 100)})[0]
	r, _ := s.of(orders, 99e9)

	if at := preparedSince(r.all, 35); !at.After(time.Unix(40, 0)) || at.After(time.Unix(40, 1e7)) {
		t.Errorf("%s", at)
	}

	if at := preparedSince(r.all, 1000); !at.IsZero() {
		t.Errorf("%s", at)
	}
}

func TestWishes(t *testing.T) {
	ok := Request{Group: "shop", Shards: []Shard{{ID: orders, Kind: targets.Postgres}}, Policy: Policy{Limit: 1}, Wish: Wish{At: time.Unix(5, 0)}}
	if err := ok.check(); err != nil {
		t.Error(err)
	}

	for name, spoil := range map[string]func(*Request){
		"none":        func(r *Request) { r.Wish = Wish{} },
		"two":         func(r *Request) { r.Wish.Observer = "A" },
		"too long":    func(r *Request) { r.Wish = Wish{From: time.Unix(0, 0), Until: time.Unix(3600, 0)} },
		"no limit":    func(r *Request) { r.Policy.Limit = 0 },
		"a mode":      func(r *Request) { r.Policy.Modes = []string{"x"} },
		"a shard":     func(r *Request) { r.Shards = []Shard{{ID: targets.ShardID{Target: "../"}, Kind: targets.Postgres}} },
		"no log":      func(r *Request) { r.Shards[0].Kind = targets.Redis },
		"no shards":   func(r *Request) { r.Shards = nil },
		"half a span": func(r *Request) { r.Wish = Wish{Until: time.Unix(7200, 0)} },
	} {
		r := ok
		r.Shards = slices.Clone(ok.Shards)
		spoil(&r)

		if err := r.check(); !fail.Is(err, fail.Invalid) && !fail.Is(err, fail.Unsupported) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What is in the way is said in words, with what to do.
func TestWords(t *testing.T) {
	for _, why := range []proof.Why{proof.BeginningUnknown, proof.NoClockBound, proof.NeverQuiet, proof.NotTogether, proof.HalfDoneThen, proof.LogTooShort,
		proof.NoMarker, proof.MarkerOutside, proof.NoCommonPause, proof.OutsideWindow, proof.NothingDeclared} {
		if cause, hint := words.Of(proof.Obstacle{Why: why, Count: 3}, time.Second); cause == string(why) || hint == "" {
			t.Errorf("%s: %q, %q", why, cause, hint)
		}
	}

	n := &None{}
	n.words(&proof.Result{Obstacles: []proof.Obstacle{{Why: proof.NeverQuiet, Shard: orders, Grade: proof.Proven, Count: 1}},
		Steps: []proof.ShardStep{{Shard: orders}}}, time.Second)

	err := nothing(&Request{Group: "shop"}, n)
	if all := Obstacles(err); len(all) != 2 || all[1].Shard != orders || !fail.Is(err, fail.NotFound) || hint(err) == "" {
		t.Errorf("%v: %+v", err, all)
	}
}
