package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
)

// ArchiveIn names the shard to archive.
type ArchiveIn struct {
	Shard activities.GroupShard `json:"shard"`
}

// Archive keeps one shard's log flowing into the vaults for ever. The activity
// is long-lived and ends by itself from time to time, so that the history
// stays short; whatever ends it otherwise, it is started again.
func Archive(ctx workflow.Context, in ArchiveIn) error {
	actx := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: in.Shard.Queue,
		// The activity returns after an hour; the limit only catches a stuck one.
		StartToCloseTimeout: 2 * time.Hour,
		HeartbeatTimeout:    20 * time.Second,
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 1.5,
			MaximumInterval: 10 * time.Second},
	})
	for range 100 {
		if err := workflow.ExecuteActivity(actx, activities.FollowShardName, activities.ShardIn{Shard: in.Shard.Shard}).Get(ctx, nil); err != nil {
			if temporal.IsCanceledError(err) {
				return err
			}
			// An error that no retry can mend (a wrong password, a changed
			// configuration) is tried again slowly: archiving must come back by
			// itself when a person has mended it.
			workflow.GetLogger(ctx).Error("archiving stopped; trying again in 30 s", "shard", in.Shard.Shard.String(), "err", err.Error())
			if err := workflow.Sleep(ctx, 30*time.Second); err != nil {
				return err
			}
		}
	}
	return workflow.NewContinueAsNewError(ctx, ArchiveName, in)
}
