package activities

import (
	"context"
	"time"

	"drctl/internal/engine"

	"go.temporal.io/sdk/activity"
)

// phaseStarting is what FollowShard reports until the log comes.
const phaseStarting = "starting"

// failingSince is since when a shard's log could not be followed, as far as
// the attempts before this one have told.
func failingSince(ctx context.Context) time.Time {
	if activity.GetInfo(ctx).Attempt <= 1 {
		return time.Time{}
	}

	var before engine.Beat
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &before) // a beat of another release is none
	}

	switch {
	case before.Phase == engine.Following:
		return time.Now()
	case !before.Failing.IsZero():
		return before.Failing
	}

	return activity.GetInfo(ctx).ScheduledTime
}
