package meter_test

import (
	"errors"
	"testing"
	"time"

	"drctl/internal/lab/shop/journal"
	"drctl/internal/lab/shop/meter"
)

func acked() *journal.Record {
	return &journal.Record{Kind: journal.KindOrder, Status: journal.Acked, AckNS: time.Now().UnixNano()}
}

// Percentiles are exact to 5 %, and count what customers waited for alone.
func TestPercentiles(t *testing.T) {
	m := meter.New()
	for i := range 1000 {
		m.Add(acked(), time.Duration(i+1)*time.Millisecond)
	}

	m.Count(acked())
	m.Add(&journal.Record{Status: journal.Failed, Reason: "x"}, time.Hour)

	near := func(got, want time.Duration) bool { return got >= want && float64(got) <= 1.05*float64(want)+1 }

	s := m.Summary()
	if !near(s.P50, 500*time.Millisecond) || !near(s.P99, 990*time.Millisecond) || s.Max != time.Second || s.Acked != 1001 || s.Failed != 1 || s.Ops != 1002 {
		t.Errorf("%+v", s)
	}

	sec := m.Second(time.Now())
	if sec.P50 != 501*time.Millisecond || sec.P99 != 991*time.Millisecond || sec.Max != time.Second || sec.Ops != 1002 || sec.Failed != 1 {
		t.Errorf("%+v", sec)
	}

	if again := m.Second(time.Now()); again.Ops != 0 || again.Max != 0 {
		t.Errorf("a second has what was of the one before: %+v", again)
	}
}

// An operation counts as one that may have felt what was tried if any of it was
// going on meanwhile.
func TestComparison(t *testing.T) {
	m := meter.New()
	m.Add(acked(), time.Millisecond) // of neither side
	m.Begin()
	m.Add(acked(), time.Hour) // begun before

	time.Sleep(11 * time.Millisecond)

	for range 100 {
		m.Add(acked(), 10*time.Millisecond)
	}

	m.Try(true)
	m.Tried(3*time.Millisecond, nil)
	m.Tried(5*time.Millisecond, errors.New("no"))

	for range 98 {
		m.Add(acked(), 5*time.Millisecond)
	}

	before := time.Now()

	m.Try(false)
	m.Add(acked(), time.Since(before)+time.Microsecond) // held up since before
	m.Add(acked(), time.Since(before)+time.Microsecond)

	m.Rest()
	m.Add(acked(), time.Microsecond) // of neither side

	c := m.Comparison()
	if c.Without.Ops != 100 || c.Without.Long != 0 || c.Without.Max != 10*time.Millisecond || c.With.Ops != 100 {
		t.Errorf("%+v", c)
	}

	if c.Tried != 2 || c.Failed != 1 || c.Reason != "no" || c.Max != 5*time.Millisecond {
		t.Errorf("%+v", c)
	}

	if c.Ratio <= 0 {
		t.Errorf("the ratio of %s and %s is %.2f", c.With.P99, c.Without.P99, c.Ratio)
	}

	if empty := meter.New().Comparison(); empty.Ratio != 0 {
		t.Errorf("of nothing: %+v", empty)
	}
}
