package meter

import (
	"slices"
	"time"
)

// Long is a latency that customers complain of.
const Long = 100 * time.Millisecond

// Felt is what customers felt in a part of a run.
type Felt struct {
	Ops  int64         `json:"ops"` // acknowledged
	P50  time.Duration `json:"p50_ns"`
	P99  time.Duration `json:"p99_ns"`
	Max  time.Duration `json:"max_ns"`
	Long int64         `json:"long"` // took longer than Long
}

// Comparison holds the time while something was tried (cuts, say) against the
// time while it was not, both of one run.
type Comparison struct {
	With    Felt `json:"with"`
	Without Felt `json:"without"`
	// Ratio is P99 with through P99 without; 0 if either has no operations.
	Ratio float64 `json:"p99_ratio"`
	// Tried and Failed count what was tried, Took is what it took.
	Tried  int           `json:"tried"`
	Failed int           `json:"failed"`
	P50    time.Duration `json:"took_p50_ns"`
	Max    time.Duration `json:"took_max_ns"`
	// Reason is the last failure's.
	Reason string `json:"reason,omitempty"`
}

// trial is what is known of what is tried.
type trial struct {
	begun  time.Time // when the comparison began; zero before
	on     bool
	until  time.Time // when the last one went off
	took   []time.Duration
	failed int
	reason string
}

// Begin begins the comparison. What was going on before is of neither side:
// connections being made, say, and cold caches.
func (m *Meter) Begin() {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.trial.begun = time.Now()
}

// Rest counts nothing for the comparison until it begins again.
func (m *Meter) Rest() {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.trial.begun = time.Time{}
}

// Try says that from now on something is tried, or no more.
func (m *Meter) Try(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.trial.on && !on {
		m.trial.until = time.Now()
	}
	m.trial.on = on
}

// Tried counts one of what is tried.
func (m *Meter) Tried(took time.Duration, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	m.trial.took = append(m.trial.took, took)
	if err != nil {
		m.trial.failed++
		m.trial.reason = err.Error()
	}
}

// compare counts an operation that ends now on its side: an operation that
// overlaps with what is tried may have felt it.
func (m *Meter) compare(took time.Duration) {
	since := time.Now().Add(-took)
	if m.trial.begun.IsZero() || m.trial.begun.After(since) {
		return
	}

	side := 0
	if m.trial.on || m.trial.until.After(since) {
		side = 1
	}

	m.sides[side].add(took)

	if took > Long {
		m.over[side]++
	}
}

// Comparison is what was measured so far.
func (m *Meter) Comparison() Comparison {
	m.mu.Lock()
	defer m.mu.Unlock()

	felt := func(side int) Felt {
		h := &m.sides[side]
		return Felt{Ops: h.n, P50: h.percentile(50), P99: h.percentile(99), Max: h.max, Long: m.over[side]}
	}
	c := Comparison{Without: felt(0), With: felt(1), Tried: len(m.trial.took), Failed: m.trial.failed, Reason: m.trial.reason}

	if c.Without.P99 > 0 {
		c.Ratio = float64(c.With.P99) / float64(c.Without.P99)
	}

	if took := slices.Sorted(slices.Values(m.trial.took)); len(took) > 0 {
		c.P50, c.Max = took[len(took)/2], took[len(took)-1]
	}

	return c
}
