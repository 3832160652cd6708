package activities

import (
	"context"
	"time"

	"go.temporal.io/sdk/activity"
)

// The phases in the beats of FollowShard. PhaseFollowing means that the log
// has begun to come: what is before it may fail again and again.
const (
	phaseStarting  = "starting"
	PhaseFollowing = "following"
)

// failingSince is since when a shard's log could not be followed, as far as
// the attempts before this one have told.
func failingSince(ctx context.Context) time.Time {
	if activity.GetInfo(ctx).Attempt <= 1 {
		return time.Time{}
	}
	var before Beat
	if activity.HasHeartbeatDetails(ctx) {
		_ = activity.GetHeartbeatDetails(ctx, &before) // a beat of another release is none
	}
	switch {
	case before.Phase == PhaseFollowing:
		return time.Now()
	case !before.Failing.IsZero():
		return before.Failing
	}
	return activity.GetInfo(ctx).ScheduledTime
}
