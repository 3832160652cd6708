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

// Now is the instant by the observer's monotonic clock.
func (o *Observer) Now() clock.Instant { return clock.Instant(time.Since(o.epoch)) }
