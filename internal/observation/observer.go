package observation

import (
	"crypto/rand"
	"time"

	"drctl/internal/proof/clock"
)

// Observer is one start of an observer. It is safe for concurrent use.
type Observer struct {
	name  string
	epoch time.Time
}

// NewObserver starts an observer.
func NewObserver() *Observer { return &Observer{name: rand.Text(), epoch: time.Now()} }

// Name tells this observer from all others.
func (o *Observer) Name() string { return o.name }

// At is the instant of a time that was read from this process' monotonic clock.
func (o *Observer) At(t time.Time) clock.Instant { return clock.Instant(t.Sub(o.epoch)) }

// Now is the instant by the observer's monotonic clock.
func (o *Observer) Now() clock.Instant { return clock.Instant(time.Since(o.epoch)) }
