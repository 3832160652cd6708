package observing

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/observation/batches"
	"drctl/internal/retry"
	"drctl/internal/watch"
	"drctl/targets"
)

// FindName is what Find is registered under.
const FindName = "FindObserver"

const (
	// FindWithin is how long an observer is waited for: longer than another worker takes to
	// notice that the one before died, and to connect to the servers.
	FindWithin = time.Minute
	// locksWithin is how long, where the mode has another way to a cut.
	locksWithin = 10 * time.Second
	// askAgain is how often it is looked for.
	askAgain = time.Second
)

// FindIn names the group whose observer is looked for.
type FindIn struct {
	Group string `json:"group"`
	// Gone is when an observer that had been found was not there. What was observed before tells
	// nothing. Zero: none had been found.
	Gone time.Time `json:"gone,omitzero"`
}

// Find names the task queue of the process that observes the group, where a cut can be
// taken. While nobody does, or no vault answers, it waits, and its beats say for what and since when: it
// need not be tried again. After a minute it fails as Nobody does; after ten seconds it returns "" if
// the group's mode has another way to a cut, and at once if it never reads logs.
func (a *Activities) Find(ctx context.Context, in FindIn) (string, error) {
	queue, err := a.find(ctx, in, activity.GetInfo(ctx).ScheduledTime) // of the first attempt
	return queue, engine.EncodeError(err)
}

func (a *Activities) find(ctx context.Context, in FindIn, asked time.Time) (string, error) {
	g, err := a.Platform.Group(in.Group)
	if err != nil {
		return "", err
	}

	within, other := FindWithin, g.Policy.Mode.Has(targets.ModeLocks) && g.Policy.Accept != string(targets.Proven)
	if other {
		within = locksWithin
	}

	began, until := time.Now(), asked.Add(within)

	for {
		if _, err := a.Running.Find(in.Group); err == nil {
			return a.HostQueue, nil
		}

		if !g.Policy.Mode.FromLogs() {
			return "", nil
		}

		seat, err := a.seat(ctx, in.Group, g.Home)
		waits := time.Now().Before(until) && (err == nil || fail.Retryable(err))

		switch {
		case err == nil && a.sits(seat, in.Gone, began):
			return seat.Queue, nil
		case waits:
		case err != nil:
			return "", err
		case other:
			return "", nil
		default:
			return "", Nobody(in.Group, seat.Until)
		}

		why := unobserved(seat.Until)
		if err != nil {
			why = err.Error()
		}

		activity.RecordHeartbeat(ctx, engine.Beat{Phase: "waiting", Detail: "for an observer: " + why + "; given up at " + until.UTC().Format(time.TimeOnly)})

		if err := retry.Sleep(ctx, askAgain); err != nil {
			return "", err
		}
	}
}

// seat is where the group was observed last.
func (a *Activities) seat(ctx context.Context, group, home string) (batches.Seat, error) {
	set, err := a.Platform.Set(ctx, group, home)
	if err != nil {
		return batches.Seat{}, err
	}

	return batches.LastSeat(ctx, set, group)
}

// sits reports whether an observer is surely or probably still where a batch came from. One that
// came from here, where none runs, is of a process that is gone, unless it is newer than this call.
func (a *Activities) sits(s batches.Seat, gone, began time.Time) bool {
	if s.Queue == a.HostQueue && began.After(gone) {
		gone = began
	}

	return s.Queue != "" && time.Since(s.Until) < batches.Fresh && s.Until.After(gone)
}

// Here is the group's observer in this process. Where it is not, and the activity was sent to this
// host for it, the error is Nobody's; who was sent to any host gets nil.
func Here(ctx context.Context, running *watch.Running, group, hostQueue string) (*watch.Watcher, error) {
	w, err := running.Find(group)

	switch {
	case err == nil:
		return w, nil
	case activity.GetInfo(ctx).TaskQueue == hostQueue:
		return nil, Nobody(group, time.Time{})
	}

	return nil, nil
}

// opNobody tells the error of Nobody from others.
const opNobody = "cut: find the observer"

// Nobody says that a group is not observed, and since when; a zero time means that it never was.
func Nobody(group string, since time.Time) error {
	return fail.New(fail.Unavailable, opNobody, group, "see drctl status, and whether a worker of the group's home region runs; drctl apply starts the observer where there was none",
		errors.New(unobserved(since)))
}

// IsNobody reports whether an error, of an activity perhaps, is one of Nobody.
func IsNobody(err error) bool {
	var e *fail.Error
	return errors.As(engine.DecodeError(err), &e) && e.Op == opNobody
}

func unobserved(since time.Time) string {
	if since.IsZero() {
		return "nobody observes the group's servers"
	}

	return fmt.Sprintf("nobody observes the group's servers since %s (%s)", since.UTC().Format(time.TimeOnly), human.Duration(time.Since(since)))
}
