package observing

import (
	"context"

	"drctl/internal/engine"
	"drctl/internal/observation/batches"
)

// FindName is what Find is registered under.
const FindName = "FindObserver"

// Find names the task queue of the process that observes the group, where a cut can be
// taken; "" if nobody has for a while.
func (a *Activities) Find(ctx context.Context, in In) (string, error) {
	queue, err := a.find(ctx, in.Group)
	return queue, engine.EncodeError(err)
}

func (a *Activities) find(ctx context.Context, group string) (string, error) {
	if _, err := a.Running.Find(group); err == nil {
		return a.HostQueue, nil
	}

	g, err := a.Platform.Group(group)
	if err != nil {
		return "", err
	}

	set, err := a.Platform.Set(ctx, group, g.Home)
	if err != nil {
		return "", err
	}

	return batches.Queue(ctx, set, group)
}
