package progress

import (
	"math"
	"time"
)

// memory is the time constant of the moving average: a change of speed shows
// within a few seconds, and one slow second does not double the time left.
const memory = 8 * time.Second

// stalledAfter is how long nothing may move before the rate says so.
const stalledAfter = 30 * time.Second

// Estimator turns (time, done) samples into a rate and a time left. It is pure:
// it knows only the times that it is given. The zero value is ready.
type Estimator struct {
	begun, last, moved time.Time
	first, done        int64
	rate               float64
	samples            int
}

// Observe adds a sample. Work that goes backwards, as after a retry, starts
// the estimate again; samples from before the last one are dropped.
func (e *Estimator) Observe(at time.Time, done int64) {
	switch {
	case e.samples == 0 || done < e.done:
		*e = Estimator{begun: at, last: at, moved: at, first: done, done: done, samples: 1}
		return
	case !at.After(e.last):
		// Same instant: the bytes count for the next interval.
		return
	}
	dt := at.Sub(e.last).Seconds()
	now := float64(done-e.done) / dt
	// The weight follows the length of the interval, so that the estimate does
	// not depend on how often it is fed. While there is little history, the
	// plain average since the beginning is better than any smoothing.
	w := 1 - math.Exp(-dt/memory.Seconds())
	if at.Sub(e.begun) < memory {
		e.rate = float64(done-e.first) / at.Sub(e.begun).Seconds()
	} else {
		e.rate += w * (now - e.rate)
	}

	if done > e.done {
		e.moved = at
	}
	e.last, e.done = at, done
	e.samples++
}

// Rate is units per second as of the instant; it fades while nothing comes in.
// ok is false before two samples.
func (e *Estimator) Rate(at time.Time) (perSecond float64, ok bool) {
	if e.samples < 2 {
		return 0, false
	}

	r := e.rate
	if quiet := at.Sub(e.last); quiet > 2*time.Second {
		r *= math.Exp(-(quiet - 2*time.Second).Seconds() / memory.Seconds())
	}

	return r, true
}

// ETA is the time left to the total. ok is false when it cannot be told: no
// total, no rate yet, or no movement.
func (e *Estimator) ETA(at time.Time, total int64) (left time.Duration, ok bool) {
	r, known := e.Rate(at)
	if total <= 0 || !known || e.Stalled(at) {
		return 0, false
	}

	rest := total - e.done
	if rest <= 0 {
		return 0, true
	}

	if r <= 0 {
		return 0, false
	}

	s := float64(rest) / r
	if s > (100 * 24 * time.Hour).Seconds() {
		return 0, false
	}

	return time.Duration(s * float64(time.Second)), true
}

// Stalled reports whether nothing has moved for half a minute.
func (e *Estimator) Stalled(at time.Time) bool {
	return e.samples > 0 && at.Sub(e.moved) >= stalledAfter
}
