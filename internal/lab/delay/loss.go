package delay

import (
	"math/rand/v2"
	"time"
)

// again is how long TCP waits before it sends a piece again that got lost, twice as long each time, and
// attempts how often it sends one. Real ones go on for a quarter of an hour; a lab has no such time.
const (
	again    = 200 * time.Millisecond
	attempts = 3
)

// fate is what becomes of a piece on a line that loses this share: how long it stalls, and whether the connection
// is given up.
func fate(loss float64, draw func() float64) (stalls time.Duration, given bool) {
	for n := range attempts {
		if draw() >= loss {
			return stalls, false
		}
		stalls += again << n
	}

	return stalls, true
}

// survives stalls as a piece does that gets lost; false when the connection is given up, or the proxy is closed.
func (p *Proxy) survives() bool {
	loss := p.now().Loss
	if loss <= 0 {
		return true
	}
	stalls, given := fate(loss, rand.Float64)

	return p.rest(time.Now().Add(stalls)) && !given
}
