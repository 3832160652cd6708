package observing

import (
	"context"
	"time"

	"drctl/internal/engine"
	"drctl/internal/observation/batches"
	"drctl/internal/retry"
)

// FindName is what Find is registered under.
const FindName = "FindObserver"

// Find names the task queue of the process that observes the group, where a cut can be
// taken; "" if nobody has for a while. One that is just starting is waited for.
func (a *Activities) Find(ctx context.Context, in In) (string, error) {
	queue, err := a.find(ctx, in.Group)
	return queue, engine.EncodeError(err)
}

// waitFor is how long an observer is waited for that is just starting, and askAgain how
// often it is looked for.
const (
	waitFor  = 10 * time.Second
	askAgain = time.Second
)

func (a *Activities) find(ctx context.Context, group string) (string, error) {
	for until := time.Now().Add(waitFor); ; {
		queue, err := a.look(ctx, group)
		if err != nil || queue != "" || time.Now().After(until) {
			return queue, err
		}

		if err := retry.Sleep(ctx, askAgain); err != nil {
			return "", err
		}
	}
}

// look looks once.
func (a *Activities) look(ctx context.Context, group string) (string, error) {
	if _, err := a.Running.Find(group); err == nil {
		return a.HostQueue, nil
	}

	g, err := a.Platform.Group(group)
	if err != nil || !g.Policy.Mode.FromLogs() {
		return "", err
	}

	set, err := a.Platform.Set(ctx, group, g.Home)
	if err != nil {
		return "", err
	}

	return batches.Queue(ctx, set, group)
}
