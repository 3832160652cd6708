package switchover_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"drctl/internal/sandbox/sandboxtest"
)

// BenchmarkWriteOutage switches a pair to and fro under a writer that commits every
// three milliseconds and goes where it is told. It reports the longest time between
// two commits around each switchover, and that none was lost.
func BenchmarkWriteOutage(b *testing.B) {
	const rounds = 15

	for b.Loop() {
		p := newPair(b, sandboxtest.Tools(b))
		w := newWriter(p)

		var outages []time.Duration
		for round := range rounds {
			outages = append(outages, w.over(uint64(round+2)))

			p.rejoin(p.a, p.b)
			p.a, p.b = p.b, p.a
		}
		acknowledged := w.stop()

		if n := p.ask(p.a, "SELECT count(*) FROM t"); n != fmt.Sprint(acknowledged) {
			b.Fatalf("%d rows were acknowledged, %s are there", acknowledged, n)
		}

		slices.Sort(outages)
		b.ReportMetric(float64(outages[rounds/2].Microseconds())/1000, "p50-ms")
		b.ReportMetric(float64(outages[rounds-1].Microseconds())/1000, "max-ms")
		b.Log(outages)
	}
}

// writer commits on the side that it is told, as a client behind a pooler that is
// paused meanwhile.
type writer struct {
	p      *pair
	gate   sync.RWMutex // held while the pooler is paused
	at     *pgx.Conn
	n      atomic.Int64
	gap    atomic.Int64 // the longest, in nanoseconds, since it was asked last
	cancel context.CancelFunc
	done   chan struct{}
}

func newWriter(p *pair) *writer {
	ctx, cancel := context.WithCancel(context.Background())

	w := &writer{p: p, at: p.connect(p.a), cancel: cancel, done: make(chan struct{})}
	go w.run(ctx)

	return w
}

func (w *writer) run(ctx context.Context) {
	defer close(w.done)
	last := time.Now()

	for ctx.Err() == nil {
		w.gate.RLock()
		_, err := w.at.Exec(context.Background(), "INSERT INTO t DEFAULT VALUES")
		w.gate.RUnlock()

		if err != nil {
			w.p.Error(err)
			return
		}

		w.n.Add(1)

		gap := int64(time.Since(last))
		last = time.Now()

		w.gap.Store(max(w.gap.Load(), gap))
		time.Sleep(3 * time.Millisecond)
	}
}

// over switches, with the writer paused, and returns how long it could not commit.
func (w *writer) over(epoch uint64) time.Duration {
	p := w.p
	ctx, h := p.context(), p.hands(p.a, p.b, epoch)
	next := p.connect(p.b) // a pooler has its connections, too

	p.archived(p.a)

	if _, err := h.Prepare(ctx); err != nil {
		p.Fatal(err)
	}

	w.gap.Store(0)
	began := time.Now()

	w.gate.Lock()
	took := []time.Duration{time.Since(began)}
	lap := func(err error) {
		if err != nil {
			p.Fatal(err)
		}
		took = append(took, time.Since(began))
	}

	_, err := h.Drain(ctx)
	lap(err)
	s, err := h.Stop(ctx)
	lap(err)
	_, err = h.Promote(ctx, p.exact(p.a, s))
	lap(err)
	lap(h.Probe(ctx))

	w.at = next
	w.gate.Unlock()

	for before := w.n.Load(); w.n.Load() == before; {
		time.Sleep(time.Millisecond)
	}

	p.Logf("pause, drain, stop, promote, probe: %v", took)

	return time.Duration(w.gap.Load())
}

func (w *writer) stop() int64 {
	w.cancel()
	<-w.done

	return w.n.Load()
}
