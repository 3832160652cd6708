package lab

import (
	"slices"
	"sync"
	"time"
)

// Second is what the shop's SQL transactions saw within one second: a fence
// that stalls writers shows in Max.
type Second struct {
	At      time.Time     `json:"at"`
	Done    int           `json:"done"`   // transactions acknowledged
	Failed  int           `json:"failed"` // transactions that failed or whose outcome is unknown
	P50     time.Duration `json:"p50_ns"`
	P99     time.Duration `json:"p99_ns"`
	Max     time.Duration `json:"max_ns"`
	Carts   int           `json:"carts"` // Redis writes acknowledged
	CartMax time.Duration `json:"cart_max_ns"`
}

// meter collects latencies per second and for the whole run.
type meter struct {
	mu      sync.Mutex
	at      time.Time
	now     []time.Duration
	cur     Second
	all     []time.Duration // a sample of at most maxSample
	seen    int
	seconds []Second
	report  func(Second)
	worst   time.Duration
}

const (
	maxSample  = 200_000
	maxSeconds = 3600
)

func (m *meter) done(kind Kind, took time.Duration, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(at)
	if kind == Cart {
		m.cur.Carts++
		m.cur.CartMax = max(m.cur.CartMax, took)
		return
	}
	m.cur.Done++
	m.now = append(m.now, took)
	m.worst = max(m.worst, took)
	if m.seen++; len(m.all) < maxSample {
		m.all = append(m.all, took)
	} else {
		m.all[m.seen%maxSample] = took // the newest replace the oldest
	}
}

func (m *meter) failed(kind Kind, at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(at)
	if kind != Cart {
		m.cur.Failed++
	}
}

// tick closes a second in which nothing happened.
func (m *meter) tick(at time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.roll(at)
}

// roll closes the second when at is in a later one.
func (m *meter) roll(at time.Time) {
	at = at.Truncate(time.Second)
	if m.at.IsZero() {
		m.at = at
	}
	for m.at.Before(at) {
		s := m.cur
		s.At = m.at.UTC()
		s.P50, s.P99, s.Max = percentiles(m.now)
		if len(m.seconds) == maxSeconds {
			m.seconds = m.seconds[1:]
		}
		m.seconds = append(m.seconds, s)
		if m.report != nil {
			m.report(s)
		}
		m.cur, m.now, m.at = Second{}, m.now[:0], m.at.Add(time.Second)
	}
}

// percentiles sorts d and returns its median, 99th percentile and maximum.
func percentiles(d []time.Duration) (p50, p99, most time.Duration) {
	if len(d) == 0 {
		return 0, 0, 0
	}
	slices.Sort(d)
	return d[len(d)/2], d[min(len(d)-1, len(d)*99/100)], d[len(d)-1]
}
