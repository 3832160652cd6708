package watch

import (
	"drctl/internal/observation"
	"drctl/internal/proof/clock"
	"drctl/targets"
)

// end is how far a log had come at an instant at most.
type end struct {
	at clock.Instant
	targets.Position
}

// ends are how far the log of a shard has come. A server sends its log only as far as it is
// written for good, and what lies behind that, of transactions that are open, it may write much later.
type ends struct {
	last    end // that was seen
	next    end // the first that was seen since and is not written for good yet
	written end // the last that is known to be written for good
}

// add takes in an observation, in order of time.
func (e *ends) add(kind targets.Kind, o observation.Observation) {
	if e.last.Timeline != o.Timeline {
		*e = ends{}
	}

	e.last = end{o.T0, targets.Position{Kind: kind, Timeline: o.Timeline, Offset: o.Inserted}}
	if e.next.Timeline != "" && e.next.Offset <= o.Flushed {
		e.written, e.next = e.next, end{}
	}

	switch {
	case e.last.Offset <= o.Flushed:
		e.written, e.next = e.last, end{}
	case e.next.Timeline == "":
		e.next = e.last
	}
}

// since is the last end at an instant or later that is written for good, or the last if none is.
func (e *ends) since(t clock.Instant) targets.Position {
	if e.written.Timeline != "" && e.written.at >= t {
		return e.written.Position
	}

	return e.last.Position
}
