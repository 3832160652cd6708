package planned

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
)

// Beat beats until it is stopped. Every step has a limit of its own, which
// ends it however often it beats.
func Beat(ctx context.Context, what func() any) (stop func()) {
	stopped, stop := context.WithCancel(ctx)

	go func() {
		t := time.NewTicker(time.Second)
		defer t.Stop()

		for stopped.Err() == nil {
			activity.RecordHeartbeat(ctx, what())

			select {
			case <-stopped.Done():
			case <-t.C:
			}
		}
	}()

	return stop
}

// Nothing is the beat of what has no progress to show.
func Nothing() any { return nil }
