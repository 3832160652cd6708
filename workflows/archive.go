package workflows

import (
	"errors"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/platform"
	"drctl/targets"
)

// ArchiveIn names the shard to archive.
type ArchiveIn struct {
	Shard platform.Shard `json:"shard"`
}

// backupLimit is how long a backup that an archiver asks for may take.
const backupLimit = 7 * 24 * time.Hour

// ArchiveAgain is how long an archiver waits after an error that no retry can
// mend before it tries again.
const ArchiveAgain = 30 * time.Second

// Archive keeps one shard's log flowing into the vaults for ever. The activity is
// long-lived. It ends by itself from time to time, so that the history stays
// short; whatever ends it, it is started again.
//
// Sometimes no base leads to what is archived now, because the log was
// interrupted. Then a backup of the shard is started, and following goes on. When
// only some vaults lack such a base, they get it from the others.
func Archive(ctx workflow.Context, in ArchiveIn) error {
	actx := workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue: platform.Queue(in.Shard.Queue, "", platform.Archive),
		// The activity returns after an hour; the limit only catches a stuck one.
		StartToCloseTimeout: 2 * time.Hour,
		HeartbeatTimeout:    20 * time.Second,
		WaitForCancellation: true,
		RetryPolicy: &temporal.RetryPolicy{InitialInterval: 500 * time.Millisecond, BackoffCoefficient: 1.5,
			MaximumInterval: 10 * time.Second},
	})
	asked := false

	var copying workflow.Future
	for range 100 {
		var out activities.FollowOut
		if err := workflow.ExecuteActivity(actx, activities.FollowShardName, activities.FollowIn{Shard: in.Shard.Shard, BaseAsked: asked}).Get(ctx, &out); err != nil {
			if temporal.IsCanceledError(err) {
				return err
			}
			// An error that no retry can mend (a wrong password, a changed
			// configuration) is tried again slowly: archiving must come back by
			// itself when a person has mended it.
			workflow.GetLogger(ctx).Error("archiving stopped; trying again in 30 s", "err", err.Error())

			if err := workflow.Sleep(ctx, ArchiveAgain); err != nil {
				return err
			}

			continue
		}

		asked = out.Break != "" || len(out.Copies) > 0
		switch {
		case out.Break != "":
			askForBase(ctx, in, out)
		case len(out.Copies) > 0 && (copying == nil || copying.IsReady()):
			copying = copyBases(ctx, in, out.Copies)
		}
	}
	// A copy that is not done is left, because archiving must not wait for
	// it. The next run asks for it again; what was copied stays.
	return workflow.NewContinueAsNewError(ctx, ArchiveName, in)
}

// copyBases starts to bring bases into vaults that have the log and nothing that
// leads to it. What fails is tried again by a later round, if it is still needed.
func copyBases(ctx workflow.Context, in ArchiveIn, copies []activities.CopyIn) workflow.Future {
	done, set := workflow.NewFuture(ctx)
	workflow.Go(ctx, func(ctx workflow.Context) {
		var failed error
		for _, c := range copies {
			workflow.GetLogger(ctx).Warn("a vault has the log and no base that leads to it; copying", "from", c.From, "to", c.To)

			if err := workflow.ExecuteActivity(longRunning(ctx, in.Shard.Queue, 24*time.Hour, 1), activities.CopyVaultName, c).Get(ctx, nil); err != nil {
				workflow.GetLogger(ctx).Error("the bases were not copied", "to", c.To, "err", err.Error())
				failed = err
			}
		}

		set.Set(nil, failed)
	})

	return done
}

// askForBase starts a backup of the shard under the id that excludes others,
// and does not wait for it. When one runs already, or the start fails, a later
// round tries again if it is still needed.
func askForBase(ctx workflow.Context, in ArchiveIn, out activities.FollowOut) {
	log := workflow.GetLogger(ctx)
	log.Error("no base leads to what is archived now; taking a new one", "what", out.Break)

	var g platform.Group
	if err := workflow.ExecuteActivity(shortCall(ctx, in.Shard.Queue), activities.DescribeGroupName, activities.GroupIn{Group: out.Group}).Get(ctx, &g); err != nil {
		log.Error("no base was started", "err", err.Error())
		return
	}
	// The backup goes on when this archiver is stopped.
	cctx, _ := workflow.NewDisconnectedContext(ctx)
	cctx = workflow.WithChildOptions(cctx, workflow.ChildWorkflowOptions{
		// The shard's own queue: its workers are there, the home region's may be lost.
		WorkflowID: IDs(g.Platform).Backup(g.Name), TaskQueue: in.Shard.Queue,
		WorkflowIDReusePolicy: enums.WORKFLOW_ID_REUSE_POLICY_ALLOW_DUPLICATE,
		ParentClosePolicy:     enums.PARENT_CLOSE_POLICY_ABANDON,
		// It has the id of the group's backups.
		WorkflowRunTimeout: backupLimit,
	})
	err := workflow.ExecuteChildWorkflow(cctx, TakeBackupName, TakeBackupIn{Group: g, Shards: []targets.ShardID{in.Shard.Shard}}).
		GetChildWorkflowExecution().Get(cctx, nil)

	var running *temporal.ChildWorkflowExecutionAlreadyStartedError
	switch {
	case errors.As(err, &running):
		log.Info("another backup runs; the base is tried again after it")
	case err != nil:
		log.Error("no base was started", "err", err.Error())
	}
}
