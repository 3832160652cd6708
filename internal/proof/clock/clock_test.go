package clock

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"drctl/internal/fail"
)

// world is a server's clock as it truly ran: by pieces, with its rate and a step
// at the beginning of each.
type world struct{ pieces []piece }

type piece struct {
	from  Instant
	shows float64
	rate  float64
}

func (w *world) read(t Instant) Stamp {
	i := len(w.pieces) - 1
	for i > 0 && w.pieces[i].from > t {
		i--
	}
	p := w.pieces[i]

	return Stamp(p.shows+float64(t-p.from)*p.rate) / GrainNs * GrainNs
}

// turn begins a new piece: another rate, and the clock goes forward by a step.
func (w *world) turn(at Instant, rate, step float64) {
	p := w.pieces[len(w.pieces)-1]
	w.pieces = append(w.pieces, piece{at, p.shows + float64(at-p.from)*p.rate + step, rate})
}

// draw makes a clock of some hundred milliseconds with samples each 5 to 50 ms,
// of which each two neighbours have at most one step or a slew between them.
func draw(rng *rand.Rand) (*world, []Sample) {
	rate := func() float64 { return 1 + (rng.Float64()*2-1)*490e-6 }
	w := &world{pieces: []piece{{0, 1.7e15 + rng.Float64()*1e9, rate()}}}

	var samples []Sample
	at := Instant(0)
	far := []float64{100, 50_000}[rng.IntN(2)]

	for range 4 + rng.IntN(12) {
		way := func() Instant { return Instant(1 + rng.ExpFloat64()*far) }
		t0 := at + 1
		read := t0 + way()
		at = read + way()
		samples = append(samples, Sample{T0: t0, T1: at, Stamp: w.read(read), Wall: Stamp(at) + 5e17})

		pause := Instant(5e6 + rng.Float64()*45e6)

		third := pause / 3
		switch rng.IntN(12) {
		case 0: // a large step
			w.turn(at+third, rate(), (rng.Float64()*2-1)*200e6)
		case 1, 2: // one that may be too small to be noticed
			w.turn(at+third, rate(), (rng.Float64()*2-1)*200e3)
		case 3: // a fast slew in one direction
			w.turn(at+third, 1+(rng.Float64()*2-1)*0.08, 0)
			w.turn(at+2*third, rate(), 0)
		default:
			w.turn(at+third, rate(), 0)
		}
		at += pause
	}

	return w, samples
}

// anyTime is between the first and the last sample, or just behind one of them.
func anyTime(rng *rand.Rand, samples []Sample) Instant {
	first, last := samples[0].T1, samples[len(samples)-1].T0
	if i := rng.IntN(2 * len(samples)); i < len(samples)-1 {
		return samples[i].T1 + Instant(rng.IntN(2000))
	}

	return first + Instant(rng.Int64N(int64(last-first)))
}

// Whatever a clock did, the range of a stamp holds the instant at which it was
// taken, and stamps get narrow ranges where nothing happened.
func TestRangeHoldsTheInstant(t *testing.T) {
	var asked, known, narrow int
	for seed := range uint64(3000) {
		rng := rand.New(rand.NewPCG(seed, 1))
		w, samples := draw(rng)
		shuffled := slices.Clone(samples)
		rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })

		c, err := New(shuffled, 0)
		if err != nil {
			t.Fatal(err)
		}

		for range 50 {
			at := anyTime(rng, samples)
			asked++

			r, ok := c.At(w.read(at))
			if !ok {
				continue
			}

			known++

			if at < r.Earliest || at > r.Latest {
				t.Fatalf("seed %d: a stamp of %d is said to be of [%d, %d]", seed, at, r.Earliest, r.Latest)
			}

			if r.Width() < 500_000 {
				narrow++
			}
		}
	}

	if known < asked/2 || narrow < known*9/10 {
		t.Fatalf("of %d stamps %d have a range, %d a narrow one", asked, known, narrow)
	}
}

// A large step is reported where it happened, and by how much.
func TestStepsAreNoticed(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 2))

		step := float64(2e6 + rng.Int64N(1e9))
		if rng.IntN(2) == 0 {
			step = -step
		}
		w := &world{pieces: []piece{{0, 1.7e15, 1}}}
		at := Instant(7e6 + rng.Int64N(80e6))
		w.turn(at, 1, step)

		var samples []Sample
		for t0 := Instant(0); t0 < 100e6; t0 += 10e6 {
			samples = append(samples, Sample{T0: t0, T1: t0 + 100_000, Stamp: w.read(t0 + Instant(rng.Int64N(100_000)))})
		}

		c, err := New(samples, 0)
		if err != nil {
			t.Fatal(err)
		}
		steps := c.Steps()

		if len(steps) != 1 || at < steps[0].After || at > steps[0].Before || step < float64(steps[0].Least)-GrainNs || step > float64(steps[0].Most)+GrainNs {
			t.Fatalf("seed %d: step of %.0f at %d: %+v", seed, step, at, steps)
		}

		if _, ok := c.At(w.read(at - 1)); ok {
			t.Fatalf("seed %d: a stamp next to the step has a range", seed)
		}
	}
}

// A far observer's samples, relayed, hold the instants of the near one.
func TestRelay(t *testing.T) {
	for seed := range uint64(1000) {
		rng := rand.New(rand.NewPCG(seed, 3))
		server := &world{pieces: []piece{{0, 1.7e15, 1.0003}}}
		far := &world{pieces: []piece{{0, rng.Float64() * 1e15, 0.9998}}}

		var exchanged, samples []Sample
		for at := Instant(0); at < 200e6; at += 10e6 {
			d, e := Instant(rng.Int64N(2e6)), Instant(rng.Int64N(2e6))
			exchanged = append(exchanged, Sample{T0: at, T1: at + d + e, Stamp: far.read(at + d)})
			a, b, c := at+5e6, at+5e6+Instant(rng.Int64N(1e5)), at+5e6+Instant(1e5+rng.Int64N(1e5))
			samples = append(samples, Sample{T0: Instant(far.read(a)), T1: Instant(far.read(c)) + GrainNs, Stamp: server.read(b)})
		}

		via, err := New(exchanged, 0)
		if err != nil {
			t.Fatal(err)
		}

		c, err := New(Relay(samples, via), 0)
		if err != nil {
			t.Fatal(err)
		}
		known := 0

		for at := Instant(20e6); at < 170e6; at += 1e6 {
			if r, ok := c.At(server.read(at)); ok {
				known++

				if at < r.Earliest || at > r.Latest || r.Width() > 20e6 {
					t.Fatalf("seed %d: %d is said to be in %+v", seed, at, r)
				}
			}
		}

		if known < 140 {
			t.Fatalf("seed %d: only %d known", seed, known)
		}
	}
}

// A stamp outside of all samples, or with samples on one side, has no range.
func TestNoRangeWithoutSamplesOnBothSides(t *testing.T) {
	c, err := New([]Sample{{T0: 0, T1: 10, Stamp: 1e9}}, 0)
	if err != nil {
		t.Fatal(err)
	}

	if _, ok := c.At(1e9); ok {
		t.Fatal("one sample is enough")
	}

	c, err = New([]Sample{{T0: 0, T1: 10, Stamp: 1e9}, {T0: 1e6, T1: 1e6 + 10, Stamp: 1e9 + 1e6}}, 0)
	if err != nil {
		t.Fatal(err)
	}

	for x, want := range map[Stamp]bool{1e9 - 1e5: false, 1e9: true, 1e9 + 5e5: true, 1e9 + 1e6: true, 1e9 + 2e6: false} {
		if _, ok := c.At(x); ok != want {
			t.Errorf("%d: %v", x, ok)
		}
	}
}

// Of samples that overlap, as relayed ones may, the narrowest is kept.
func TestOverlappingSamples(t *testing.T) {
	c, err := New([]Sample{
		{T0: 0, T1: 20_000, Stamp: 10_000}, {T0: 1000, T1: 11_000, Stamp: 6000}, {T0: 2000, T1: 900_000, Stamp: 7000},
		{T0: 1_000_000, T1: 1_010_000, Stamp: 1_005_000},
	}, 0)
	if err != nil {
		t.Fatal(err)
	}

	if r, ok := c.At(400_000); !ok || r.Width() > 15_000 {
		t.Fatalf("%+v %v", r, ok)
	}
}

func TestBadSamples(t *testing.T) {
	for _, s := range []Sample{{T0: 2, T1: 1}, {T1: 1 << 60}, {Stamp: -1 << 61}} {
		if _, err := New([]Sample{s}, 0); !fail.Is(err, fail.Invalid) {
			t.Errorf("%+v: %v", s, err)
		}
	}

	if _, err := New(nil, 1e6); !fail.Is(err, fail.Invalid) {
		t.Error(err)
	}

	if _, ok := Best(nil); ok {
		t.Error("the best of none")
	}

	if s, _ := Best([]Sample{{T1: 5}, {T1: 3}, {T1: 4}}); s.T1 != 3 {
		t.Error(s)
	}
}

func TestSeriesJSON(t *testing.T) {
	_, samples := draw(rand.New(rand.NewPCG(1, 1)))
	in := Series{Observer: "worker-1/17", Of: "orders/2@east", Samples: samples}

	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}

	var out Series
	if err := json.Unmarshal(b, &out); err != nil || out.Observer != in.Observer || out.Of != in.Of || !slices.Equal(out.Samples, in.Samples) {
		t.Fatalf("%v: %+v", err, out)
	}

	if perSample := len(b) / len(samples); perSample > 50 {
		t.Errorf("%d bytes a sample", perSample)
	}

	if err := json.Unmarshal([]byte(`{"v":2}`), &out); !fail.Is(err, fail.Unsupported) {
		t.Error(err)
	}

	if err := json.Unmarshal([]byte(`{"v":1,"samples":[[5,-1,0,0]]}`), &out); !fail.Is(err, fail.Corrupt) {
		t.Error(err)
	}
}

func TestWallClock(t *testing.T) {
	at := time.Date(2026, 11, 26, 12, 3, 7, 0, time.UTC)
	samples := []Sample{
		{T0: 0, T1: 10, Wall: Stamp(at.UnixNano())},
		{T0: 1e9, T1: 1e9 + 10, Wall: Stamp(at.UnixNano() + 1e9)},
		{T0: 2e9, T1: 2e9 + 10, Wall: Stamp(at.UnixNano() + 60e9)}, // stepped by 58 s
	}

	for _, c := range []struct {
		after time.Duration
		want  Instant
	}{{0, 10}, {500 * time.Millisecond, 5e8 + 10}, {30 * time.Second, 2e9 + 10}, {61 * time.Second, 3e9 + 10}} {
		if is, ok := AtWall(samples, at.Add(c.after)); !ok || is != c.want {
			t.Errorf("%v: %d", c.after, is)
		}
	}

	if _, ok := AtWall(samples, at.Add(-1)); ok {
		t.Error("before the first sample")
	}

	if w, ok := Wall(samples, 5e8+10); !ok || !w.Equal(at.Add(500*time.Millisecond)) {
		t.Error(w)
	}

	if PostgresStamp(0) != Stamp(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixNano()) {
		t.Error(PostgresStamp(0))
	}
}
