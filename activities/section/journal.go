package section

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"drctl/internal/fail"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// Journal keeps what happened, in order. Its entries are numbered from 1.
type Journal interface {
	// Write keeps an entry durably. It is fail.Conflict when there is one of that
	// number: somebody else runs the section.
	Write(ctx context.Context, n int, e Entry) error
	// Read returns all entries in order.
	Read(ctx context.Context) ([]Entry, error)
}

// Entry is what happened since the one before.
type Entry struct {
	// At is by the clock of who ran the section then.
	At     time.Time `json:"at"`
	By     string    `json:"by"`
	Events []Event   `json:"events"`
	// Prepared is what the hands saw before anything was touched; in the first entry.
	Prepared json.RawMessage `json:"prepared,omitempty"`
}

// HasBegun reports whether a section has begun by what its journal holds. An entry without events
// says that somebody could not begin it.
func HasBegun(es []Entry) bool {
	return slices.ContainsFunc(es, func(e Entry) bool { return len(e.Events) > 0 })
}

// MayStand reports whether a section has done, or may be about to do, what nothing can undo, by what its journal
// holds: it has begun, and was neither taken back nor ended before that.
func MayStand(o plan.Outline, es []Entry) (bool, error) {
	m, err := machine.New(o)
	if err != nil {
		return false, err
	}

	var at machine.State

	past := false

	for _, e := range es {
		for _, x := range e.Events {
			is, err := x.machine()
			if err != nil {
				return false, fail.New(fail.Corrupt, op, "journal", "look at the run by hand", err)
			}

			at, _ = m.Next(at, is)
			past = past || at.Past
		}
	}

	return HasBegun(es) && (past || !at.Finished), nil
}

// closeLimit bounds how long NotBegun takes.
const closeLimit = 20 * time.Second

// NotBegun is nil when the section has not begun, and nobody who is still at its preparation
// will begin it: a process that was stopped for a while would switch what everybody believes
// untouched. Who begins it anew is not in anybody's way.
func NotBegun(ctx context.Context, j Journal, by string) error {
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), closeLimit) // who has cancelled wants to know, too
	defer stop()

	es, err := j.Read(ctx)
	if err != nil {
		return err
	}

	if HasBegun(es) {
		return fail.Newf(fail.Conflict, op, "journal", "it has begun")
	}

	return j.Write(ctx, len(es)+1, Entry{At: time.Now().UTC(), By: by})
}

// The kinds of events.
const (
	Began     = "begin"
	Ended     = "ended"
	Undid     = "undid"
	Elapsed   = "elapsed"
	Cancelled = "cancelled"
	Again     = "again" // a step that wanted people is tried once more
)

// Event is an event of the machine as it is written down.
type Event struct {
	Kind  string          `json:"kind"`
	Step  string          `json:"step,omitempty"`
	Timer int             `json:"timer,omitempty"`
	Error string          `json:"error,omitempty"` // why it failed; "" when it did not
	Out   json.RawMessage `json:"out,omitempty"`
	// Took is how long the attempt took, At when it ended, since the section began.
	Took time.Duration `json:"took_ns,omitempty"`
	At   time.Duration `json:"at_ns,omitempty"`
}

// machine is what the machine is told.
func (e Event) machine() (machine.Event, error) {
	switch e.Kind {
	case Began:
		return machine.Begin{}, nil
	case Ended:
		return machine.Ended{Step: e.Step, Failed: e.Error != ""}, nil
	case Undid:
		return machine.Undid{Step: e.Step, Failed: e.Error != ""}, nil
	case Elapsed:
		return machine.Elapsed{Timer: e.Timer}, nil
	case Cancelled:
		return machine.Cancelled{}, nil
	case Again:
		return machine.Answered{Step: e.Step, Answer: machine.SayRetry, By: "section"}, nil
	}

	return nil, fmt.Errorf("an event of kind %.80q is not known", e.Kind)
}
