package epoch

import (
	"bytes"
	"context"
	"io"
	"iter"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/internal/vault"
)

// The simulation runs the real code against voters in memory. Time is the
// bubble's; every process has a clock of its own that drifts, links that are slow,
// lose requests or answers and are cut, and is paused and killed at any point. What
// is checked is when, in true time, who was live.

// world is one schedule.
type world struct {
	seed   uint64
	rnd    *rand.Rand
	start  time.Time
	voters []*memory
	lease  time.Duration
	omit   omit

	mu   sync.Mutex
	live []interval
}

// interval is when a process believed that its region may write, in true time.
type interval struct {
	from, to      time.Duration
	holder, owner string
	epoch         string
}

func (w *world) now() time.Duration { return time.Since(w.start) }

// memory is a voter.
type memory struct {
	mu   sync.Mutex
	data map[string][]byte
}

// plain is a Codec that protects nothing.
type plain struct{}

func (plain) Seal(_ string, b []byte) ([]byte, error) { return b, nil }
func (plain) Open(_ string, b []byte) ([]byte, error) { return b, nil }

// The clocks go apart by nearly the tenth that the package allows.
const slowest, fastest = 0.956, 1.044

// node is one process on a machine.
type node struct {
	w      *world
	name   string
	rate   float64
	offset time.Duration
	rnd    *rand.Rand
	mu     sync.Mutex
	paused [][2]time.Duration // true times
	kill   time.Duration      // true time
	late   float64            // share of requests that are late
	cut    [][][2]time.Duration
}

func (n *node) clock() time.Duration {
	return n.offset + time.Duration(float64(n.w.now())*n.rate)
}

// trueTime is the inverse of clock.
func (n *node) trueTime(c time.Duration) time.Duration {
	return time.Duration(float64(c-n.offset) / n.rate)
}

func (n *node) roll(p float64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()

	return n.rnd.Float64() < p
}

func (n *node) upTo(d time.Duration) time.Duration {
	n.mu.Lock()
	defer n.mu.Unlock()

	return time.Duration(n.rnd.Int64N(int64(d)) + 1)
}

// gate holds a process that is paused, and for ever one that was killed.
func (n *node) gate(ctx context.Context) {
	for {
		wake := time.Duration(0)
		for _, p := range n.paused {
			if now := n.w.now(); now >= p[0] && now < p[1] {
				wake = p[1]
			}
		}

		if n.kill > 0 && n.w.now() >= n.kill {
			<-ctx.Done() // only the end of the schedule
			return
		}

		if wake == 0 {
			return
		}

		time.Sleep(wake - n.w.now())
	}
}

// link is a voter as a node reaches it.
type link struct {
	n *node
	i int
}

func (l link) URL() string { return "memory:" + strconv.Itoa(l.i) }

func (l link) away() bool {
	for _, c := range l.n.cut[l.i] {
		if now := l.n.w.now(); now >= c[0] && now < c[1] {
			return true
		}
	}

	return false
}

var errNet = fail.Newf(fail.Unavailable, "simulated", "", "no answer")

// call sends a request: it may be lost, late, carried out without an answer, or
// carried out long after who sent it has given up.
func (l link) call(ctx context.Context, f func()) error {
	n := l.n
	n.gate(ctx)

	if dead := n.kill > 0 && n.w.now() >= n.kill; dead || ctx.Err() != nil && n.roll(0.5) { // else it was paused on the way into the kernel
		return errNet
	}

	there, back := n.upTo(20*time.Millisecond), n.upTo(20*time.Millisecond)
	if n.roll(n.late) {
		there = n.upTo(2 * n.w.lease)
	}

	if n.roll(n.late) {
		back = n.upTo(n.w.lease)
	}
	lost, mute := l.away() || n.roll(0.02), n.roll(0.02)

	done := make(chan struct{})
	go func() {
		time.Sleep(there)

		if !lost {
			f()
		}

		time.Sleep(back)

		if !lost && !mute && !l.away() {
			close(done)
		}
	}()

	select {
	case <-done:
		n.gate(ctx)
		return nil
	case <-ctx.Done():
		n.gate(ctx)
		return errNet
	}
}

func (l link) Put(ctx context.Context, k string, b []byte) (err error) {
	m := l.n.w.voters[l.i]
	if e := l.call(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()

		if _, ok := m.data[k]; ok {
			err = fail.Newf(fail.Conflict, "put", k, "exists")
			return
		}
		m.data[k] = b
	}); e != nil {
		return e
	}

	return err
}

func (l link) Get(ctx context.Context, k string) (r io.ReadCloser, err error) {
	m := l.n.w.voters[l.i]
	if e := l.call(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()

		b, ok := m.data[k]
		if !ok {
			err = fail.Newf(fail.NotFound, "get", k, "none")
			return
		}
		r = io.NopCloser(bytes.NewReader(b))
	}); e != nil {
		return nil, e
	}

	return r, err
}

func (l link) List(ctx context.Context, prefix, after string) iter.Seq2[vault.Info, error] {
	return func(yield func(vault.Info, error) bool) {
		m := l.n.w.voters[l.i]

		var keys []string
		if e := l.call(ctx, func() {
			m.mu.Lock()
			defer m.mu.Unlock()

			for k := range m.data {
				if strings.HasPrefix(k, prefix) && k > after {
					keys = append(keys, k)
				}
			}
		}); e != nil {
			yield(vault.Info{}, e)
			return
		}

		slices.Sort(keys)

		for _, k := range keys {
			if !yield(vault.Info{Key: k}, nil) {
				return
			}
		}
	}
}

func (l link) Delete(ctx context.Context, k string) error {
	m := l.n.w.voters[l.i]
	return l.call(ctx, func() { m.mu.Lock(); delete(m.data, k); m.mu.Unlock() })
}

// spans are random stretches of a schedule.
func (w *world) spans(share float64, length, whole time.Duration) (out [][2]time.Duration) {
	for at := time.Duration(0); at < whole; {
		at += time.Duration(w.rnd.ExpFloat64() * float64(length) * (1 - share) / max(share, 0.001))
		d := time.Duration(w.rnd.ExpFloat64() * float64(length))
		out = append(out, [2]time.Duration{at, at + d})
		at += d
	}

	return out
}

func (w *world) node(name string, whole time.Duration) (*node, *Log) {
	n := &node{
		w: w, name: name, rate: slowest + (fastest-slowest)*w.rnd.Float64(), offset: time.Duration(w.rnd.Int64N(int64(time.Hour))),
		rnd: rand.New(rand.NewPCG(w.seed, w.rnd.Uint64())), late: 0.1 * w.rnd.Float64(),
	}
	if w.rnd.IntN(2) == 0 { // the extremes are what margins are for
		n.rate = []float64{slowest, fastest}[w.rnd.IntN(2)]
	}

	if w.rnd.IntN(3) == 0 {
		n.paused = w.spans(0.3, time.Duration(1+9*w.rnd.IntN(2))*w.lease, whole)
	}

	if w.rnd.IntN(4) == 0 {
		n.kill = time.Duration(w.rnd.Int64N(int64(whole)))
	}

	c := Config{Group: "shop", By: name, Codec: plain{}, Clock: n.clock, Patience: w.lease / 5}
	for i := range w.voters {
		var cut [][2]time.Duration
		if w.rnd.IntN(2) == 0 {
			cut = w.spans(0.3, 3*w.lease, whole)
		}
		n.cut = append(n.cut, cut)
		c.Voters = append(c.Voters, Voter{Name: "voter" + strconv.Itoa(i), Store: link{n, i}})
	}

	l, err := Open(c)
	if err != nil {
		panic(err)
	}
	l.omit = w.omit
	l.window.fresh, l.window.prune = 2*w.lease, 3*w.lease

	return n, l
}

// note records for how long a process believes itself live.
func (w *world) note(n *node, t *Tenure) {
	if !t.Live() {
		return
	}

	w.mu.Lock()
	defer w.mu.Unlock()

	to := n.trueTime(t.Until())
	if i := len(w.live) - 1; i >= 0 && w.live[i].owner == n.name && w.live[i].epoch == t.rec.ID() && w.live[i].to >= w.now() {
		w.live[i].to = to
		return
	}
	w.live = append(w.live, interval{w.now(), to, t.rec.Holder, n.name, t.rec.ID()})
}

// hold is a guard: it takes part in its region's epochs, one after the other.
func (w *world) hold(ctx context.Context, n *node, l *Log, holder string) {
	for ctx.Err() == nil {
		n.gate(ctx)

		c, cancel := context.WithTimeout(ctx, w.lease)
		t, err := l.Join(c, holder, n.name)

		cancel()

		if t != nil && n.roll(0.5) {
			t.Cover([]string{"orders/1@" + holder})
		}

		for err == nil && ctx.Err() == nil {
			n.gate(ctx)
			w.note(n, t)
			time.Sleep(w.lease / 3)
			n.gate(ctx)

			c, cancel := context.WithTimeout(ctx, w.lease)
			if err = t.Renew(c); fail.Is(err, fail.Unavailable) {
				err = nil
			}

			cancel()
		}

		if ctx.Err() == nil {
			time.Sleep(w.lease / 4)
		}
	}
}

// again is another process on the same machine, which knows nothing yet.
func (w *world) again(n *node, l *Log) *Log {
	c := l.cfg
	c.By += " again"

	x, err := Open(c)
	if err != nil {
		panic(err)
	}
	x.omit, x.window = l.omit, l.window

	return x
}

// take is a failover: it claims, waits, and then writes for a while.
func (w *world) take(ctx context.Context, n *node, l *Log, holder string, at time.Duration) {
	time.Sleep(at)

	watch := n.roll(0.5)
	for i := 0; watch && i < 8; i++ { // who has watched need not wait as long
		n.gate(ctx)
		_, _ = l.Read(ctx)

		time.Sleep(w.lease / 8)
	}

	n.gate(ctx)

	c, cancel := context.WithTimeout(ctx, 4*w.lease)
	defer cancel()

	b := Bid{Holder: holder, Run: n.name, Lease: w.lease + n.upTo(w.lease)}
	if n.roll(0.5) {
		st, err := l.Read(c)
		if err != nil {
			return
		}

		b.Claim = "of " + n.name
		b.Behind, b.Number = st.Newest()
		b.Number++
	}

	t, err := l.Claim(c, b)
	if b.Number > 0 && n.roll(0.7) { // who has begun is gone, and another process goes on, now or later
		time.Sleep(n.upTo(2 * w.lease))
		n.gate(ctx)

		l = w.again(n, l)
		defer l.cancel()

		c, cancel = context.WithTimeout(ctx, 4*w.lease)
		defer cancel()

		t, err = l.Claim(c, b)
	}

	if err != nil {
		return
	}

	c, cancel = context.WithTimeout(ctx, 8*w.lease)
	defer cancel()

	if err := t.Wait(c); err != nil {
		return
	}

	for range 4 {
		n.gate(ctx)
		w.note(n, t)
		time.Sleep(w.lease / 4)

		c, cancel := context.WithTimeout(ctx, w.lease/2)
		err := t.Renew(c)

		cancel()

		if fail.Is(err, fail.Conflict) {
			return
		}
	}
}
