package stretch

import (
	"cmp"
	"slices"

	"drctl/internal/proof/clock"
	"drctl/targets/postgres/wal"
)

// observed are the observations of the timeline of the stretch, in order of time.
func (l *Log) observed(all []Observation) (seen []Observation) {
	timeline := l.options.Timelines[len(l.options.Timelines)-1].ID
	for _, o := range all {
		if o.Timeline == timeline {
			seen = append(seen, o)
		}
	}

	slices.SortStableFunc(seen, func(a, b Observation) int { return cmp.Compare(a.T0, b.T0) })

	return seen
}

// flushed is the first instant at which everything before a place had surely been
// flushed; nil if none was seen.
func flushed(seen []Observation, at wal.LSN) (first *clock.Instant) {
	for _, o := range seen {
		if o.Flush >= at && (first == nil || o.T1 < *first) {
			first = &o.T1
		}
	}

	return first
}

// ended is the last instant at which the log surely did not reach beyond a place; nil
// if none was seen.
func ended(seen []Observation, at wal.LSN) (last *clock.Instant) {
	for _, o := range seen {
		if o.Insert <= at && (last == nil || o.T0 > *last) {
			last = &o.T0
		}
	}

	return last
}
