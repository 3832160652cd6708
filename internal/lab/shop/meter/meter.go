package meter

import (
	"maps"
	"slices"
	"sync"
	"time"

	"drctl/internal/lab/shop/journal"
)

// Second is what happened in about one second.
type Second struct {
	At            time.Time
	Ops           int // ended, whatever the outcome
	Failed        int
	Unknown       int
	P50, P99, Max time.Duration // of acknowledged operations, gate included
}

// Summary is what a run did.
type Summary struct {
	Started time.Time        `json:"started"`
	Ended   time.Time        `json:"ended"`
	Ops     int64            `json:"ops"` // Acked + Failed + Unknown
	Acked   int64            `json:"acked"`
	Failed  int64            `json:"failed"`
	Unknown int64            `json:"unknown"`
	Kinds   map[string]int64 `json:"kinds"`   // acknowledged, by kind of operation
	Reasons map[string]int64 `json:"reasons"` // failed and unknown, as "failed: lock timeout"
	// Latencies of acknowledged operations, gate included.
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
	LastAck  time.Time     `json:"last_ack"`
	Resolved Resolved      `json:"resolved"`
	// Errors is Failed and Unknown without the clients that were made to die.
	Errors int64 `json:"client_errors"`
	// Again counts what clients did once more by themselves: writes to Redis whose connection
	// was lost, and transactions that were given up to let others end.
	Again int64 `json:"done_again"`
	// Stores are what customers felt of each store, PostgreSQL first.
	Stores []Store `json:"stores,omitempty"`
}

// Resolved counts what was settled after the operation itself had ended.
type Resolved struct {
	Committed  int `json:"committed"` // by COMMIT PREPARED, or found whole
	RolledBack int `json:"rolled_back"`
	Repaired   int `json:"repaired"` // plain transfers of which one half was missing
	Left       int `json:"left"`     // still in doubt
}

// Meter measures one run. It is safe for concurrent use.
type Meter struct {
	mu    sync.Mutex
	sum   Summary
	all   histogram
	sides [2]histogram // while nothing was tried, and while something was
	over  [2]int64
	trial trial
	now   Second
	times []time.Duration // of this second

	stores [2][]*watched // of PostgreSQL, of Redis
	least  time.Duration
}

// New is a meter that has seen nothing.
func New() *Meter {
	return &Meter{sum: Summary{Kinds: map[string]int64{}, Reasons: map[string]int64{}}}
}

// Start notes when the run began.
func (m *Meter) Start(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.sum.Started = at.UTC()

	for _, w := range m.watched() {
		w.last = at
	}
}

// End notes when it ended.
func (m *Meter) End(at time.Time) { m.mu.Lock(); m.sum.Ended = at.UTC(); m.mu.Unlock() }

// Add counts an operation that has ended, with what its customer waited.
func (m *Meter) Add(r *journal.Record, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.count(r)

	if r.Status == journal.Acked {
		m.times = append(m.times, took)
		m.all.add(took)
		m.compare(took)
	}
}

// Count counts an operation that has ended and that no customer waited for.
func (m *Meter) Count(r *journal.Record) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.count(r)
}

func (m *Meter) count(r *journal.Record) {
	m.sum.Ops++
	m.now.Ops++

	if r.Status != journal.Acked {
		m.fault(r)
	}

	switch r.Status {
	case journal.Acked:
		m.sum.Acked++

		m.sum.Kinds[r.Kind]++
		if at := time.Unix(0, r.AckNS).UTC(); at.After(m.sum.LastAck) {
			m.sum.LastAck = at
		}
	case journal.Unknown:
		m.sum.Unknown++
		m.now.Unknown++
		m.sum.Reasons["unknown: "+r.Reason]++
	default:
		m.sum.Failed++
		m.now.Failed++
		m.sum.Reasons["failed: "+r.Reason]++
	}
}

// Second closes the current second.
func (m *Meter) Second(at time.Time) Second {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, times := m.now, m.times
	m.now, m.times = Second{}, nil

	s.At = at.UTC()
	if n := len(times); n > 0 {
		slices.Sort(times)
		s.P50, s.P99, s.Max = times[n/2], times[n*99/100], times[n-1]
	}

	return s
}

// Summary is what was measured so far; percentiles are exact to 5 %.
func (m *Meter) Summary() Summary {
	m.mu.Lock()
	defer m.mu.Unlock()

	s := m.sum
	s.Kinds, s.Reasons = maps.Clone(s.Kinds), maps.Clone(s.Reasons)
	s.P50, s.P99, s.Max = m.all.percentile(50), m.all.percentile(99), m.all.max
	s.Stores = m.felt()

	return s
}
