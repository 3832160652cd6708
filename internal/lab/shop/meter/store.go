package meter

import (
	"time"

	"drctl/internal/lab/shop/journal"
)

// Outage is a time in which a store acknowledged no customer's write.
type Outage struct {
	Begin  time.Time     `json:"begin"` // the last acknowledgement before it, or when the run began
	End    time.Time     `json:"end"`   // the first one after it, or when the customers left
	Length time.Duration `json:"length_ns"`
}

// Store is what customers felt of one store.
type Store struct {
	Store string `json:"store"` // "orders/0"
	// Acked counts acknowledged writes: local transactions, and changes of carts.
	Acked int64 `json:"acked_writes"`
	// Errors counts operations that a customer was told have failed, or was told
	// nothing of, and whose part here was not acknowledged.
	Errors int64 `json:"client_errors"`
	// From the beginning of a write, waits for a connection to its shard and the pauses of
	// its customer included, to its acknowledgement.
	P50 time.Duration `json:"p50_ns"`
	P99 time.Duration `json:"p99_ns"`
	Max time.Duration `json:"max_ns"`
	// Longest is the write outage. It cannot be shorter than the time between two writes that
	// customers make.
	Longest Outage `json:"write_outage"`
	// Outages are those that were longer than was asked for, in order.
	Outages []Outage `json:"outages,omitempty"`
}

// maxOutages bounds the outages of a store that are kept.
const maxOutages = 10_000

// Stores are the stores of a platform by their place in it.
type Stores struct{ Postgres, Redis []string }

type watched struct {
	Store
	waits histogram
	last  time.Time // of an acknowledgement; zero once the customers have left
}

// Watch measures the stores too, and keeps every outage that is longer than least; 0
// keeps none. It is called before Start.
func (m *Meter) Watch(s Stores, least time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.least = least
	for i, names := range [2][]string{s.Postgres, s.Redis} {
		for _, name := range names {
			m.stores[i] = append(m.stores[i], &watched{Store: Store{Store: name}})
		}
	}
}

// Wrote counts a step that was acknowledged at a time.
func (m *Meter) Wrote(s *journal.Step, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()

	w := m.store(s.Redis, s.Shard)
	if w == nil {
		return
	}

	w.Acked++
	w.waits.add(at.Sub(time.Unix(0, s.BeginNS)))
	w.gap(at, m.least)

	if !w.last.IsZero() && at.After(w.last) {
		w.last = at
	}
}

// Leave notes when the customers leave: from then on no outage is counted.
func (m *Meter) Leave(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()

	for _, w := range m.watched() {
		w.gap(at, m.least)
		w.last = time.Time{}
	}
}

// Again counts what a customer's client did once more, of which its customer saw
// nothing but the time that it took.
func (m *Meter) Again() { m.mu.Lock(); m.sum.Again++; m.mu.Unlock() }

// gap closes the time since the last acknowledgement.
func (w *watched) gap(at time.Time, least time.Duration) {
	if w.last.IsZero() {
		return
	}

	o := Outage{Begin: w.last.UTC(), End: at.UTC(), Length: at.Sub(w.last)}
	if o.Length > w.Longest.Length {
		w.Longest = o
	}

	if least > 0 && o.Length > least && len(w.Outages) < maxOutages {
		w.Outages = append(w.Outages, o)
	}
}

func (m *Meter) watched() (all []*watched) {
	return append(append(all, m.stores[0]...), m.stores[1]...)
}

func (m *Meter) store(redis bool, n int) *watched {
	of := m.stores[0]
	if redis {
		of = m.stores[1]
	}

	if n < 0 || n >= len(of) {
		return nil
	}

	return of[n]
}

// fault counts an operation that was not acknowledged at every store that has a part
// in it which was not.
func (m *Meter) fault(r *journal.Record) {
	if r.Reason == journal.Died {
		return // the client, and not its platform
	}

	m.sum.Errors++

	hit := map[*watched]bool{}
	for i := range r.Steps {
		if s := &r.Steps[i]; s.AckNS == 0 {
			hit[m.store(s.Redis, s.Shard)] = true
		}
	}

	if len(r.Steps) == 0 { // no connection
		for _, shard := range r.Shards {
			hit[m.store(false, shard)] = true
		}

		if n := len(m.stores[1]); r.Cart > 0 && n > 0 {
			hit[m.store(true, (r.Cart-1)%n)] = true
		}
	}

	delete(hit, nil)

	for w := range hit {
		w.Errors++
	}
}

// felt is what was measured of the stores.
func (m *Meter) felt() (out []Store) {
	for _, w := range m.watched() {
		s := w.Store
		s.P50, s.P99, s.Max = w.waits.percentile(50), w.waits.percentile(99), w.waits.max
		s.Outages = append([]Outage(nil), s.Outages...)
		out = append(out, s)
	}

	return out
}
