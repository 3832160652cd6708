package shop

import (
	"maps"
	"slices"
	"sync"
	"time"
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
}

// Resolved counts what was settled after the operation itself had ended.
type Resolved struct {
	Committed  int `json:"committed"` // by COMMIT PREPARED, or found whole
	RolledBack int `json:"rolled_back"`
	Repaired   int `json:"repaired"` // plain transfers of which one half was missing
	Left       int `json:"left"`     // still in doubt
}

// buckets of the histogram grow by 5 % from 10 microseconds.
const buckets = 320

type meter struct {
	mu    sync.Mutex
	sum   Summary
	hist  [buckets]int64
	now   Second
	times []time.Duration // of this second
}

func newMeter() *meter {
	return &meter{sum: Summary{Kinds: map[string]int64{}, Reasons: map[string]int64{}}}
}

func (m *meter) start(at time.Time) { m.mu.Lock(); m.sum.Started = at.UTC(); m.mu.Unlock() }
func (m *meter) end(at time.Time)   { m.mu.Lock(); m.sum.Ended = at.UTC(); m.mu.Unlock() }

func (m *meter) add(r *Record, took time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.sum.Ops++

	m.now.Ops++
	switch r.Status {
	case Acked:
		m.sum.Acked++

		m.sum.Kinds[r.Kind]++
		if at := time.Unix(0, r.AckNS).UTC(); at.After(m.sum.LastAck) {
			m.sum.LastAck = at
		}
		m.sum.Max = max(m.sum.Max, took)
		m.times = append(m.times, took)
		m.hist[bucket(took)]++
	case Unknown:
		m.sum.Unknown++
		m.now.Unknown++
		m.sum.Reasons["unknown: "+r.Reason]++
	default:
		m.sum.Failed++
		m.now.Failed++
		m.sum.Reasons["failed: "+r.Reason]++
	}
}

var bounds = func() (b [buckets]time.Duration) {
	at := float64(10 * time.Microsecond)
	for i := range b {
		b[i] = time.Duration(at)
		at *= 1.05
	}
	return b
}()

// bucket is the first whose bound is not below d.
func bucket(d time.Duration) int {
	i, _ := slices.BinarySearch(bounds[:], d)
	return min(i, buckets-1)
}

// second closes the current second.
func (m *meter) second(at time.Time) Second {
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

// summary is what was measured so far; percentiles are exact to 5 %.
func (m *meter) summary() Summary {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.sum
	s.Kinds, s.Reasons = maps.Clone(s.Kinds), maps.Clone(s.Reasons)

	var seen int64
	for i, n := range m.hist {
		seen += n
		if s.P50 == 0 && seen*2 >= s.Acked && seen > 0 {
			s.P50 = min(bounds[i], s.Max)
		}

		if s.P99 == 0 && seen*100 >= s.Acked*99 && seen > 0 {
			s.P99 = min(bounds[i], s.Max)
		}
	}

	return s
}
