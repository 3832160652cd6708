package watch

import (
	"testing"

	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// What a server has not written for good by the end of a burst is not waited for, if there is
// an end within the burst that is.
func TestEndsThatAreWritten(t *testing.T) {
	type seen struct {
		at                clock.Instant
		timeline          string
		flushed, inserted uint64
	}

	for name, c := range map[string]struct {
		seen []seen
		want uint64
	}{
		"all is written":                           {[]seen{{10, "a", 100, 100}, {20, "a", 120, 120}}, 120},
		"a transaction is open at the end":         {[]seen{{10, "a", 100, 110}, {20, "a", 120, 130}, {30, "a", 120, 140}}, 110},
		"the last end that is written counts":      {[]seen{{10, "a", 100, 110}, {20, "a", 120, 130}, {30, "a", 135, 140}}, 130},
		"one from before the burst is none":        {[]seen{{1, "a", 100, 100}, {20, "a", 100, 120}, {30, "a", 110, 130}}, 130},
		"none of another timeline":                 {[]seen{{10, "a", 100, 100}, {20, "b", 90, 95}}, 95},
		"a later one is written, this one is not":  {[]seen{{10, "a", 100, 100}, {20, "a", 110, 120}}, 100},
		"a server that has written nothing for it": {[]seen{{10, "a", 90, 110}, {20, "a", 90, 110}}, 110},
	} {
		var e ends
		for _, o := range c.seen {
			e.add(targets.Postgres, observation.Observation{Sample: clock.Sample{T0: o.at, T1: o.at + 1}, Timeline: o.timeline, Flushed: o.flushed, Inserted: o.inserted})
		}

		if got := e.since(5); got.Offset != c.want || got.Timeline != c.seen[len(c.seen)-1].timeline {
			t.Errorf("%s: %+v, want %d", name, got, c.want)
		}
	}
}
