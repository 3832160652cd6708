package workflows

import (
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/targets"
)

// The names under which workflows are registered.
const (
	TakeCutName    = "TakeCut"
	TakeBackupName = "TakeBackup"
	ArchiveName    = "Archive"
	RestoreName    = "Restore"
	RunDrillName   = "RunDrill"
	CheckName      = "Check"
	RetainName     = "Retain"
	ScheduledName  = "Scheduled"
)

// Workflow ids are the mutual exclusion: two cuts of one group cannot run at
// the same time, whoever starts them.

// CutID is the workflow id of a group's cuts.
func CutID(group string) string { return "cut/" + group }

// BackupID is the workflow id of a group's backups, and of its retention: what
// is being written must not be judged for removal.
func BackupID(group string) string { return "backup/" + group }

// ArchiveID is the workflow id of a shard's archiver.
func ArchiveID(s targets.ShardID) string { return "archive/" + s.String() }

// RecoverID is the workflow id of recoveries of a group into instances.
func RecoverID(group string) string { return "recover/" + group }

// SandboxID is the workflow id of a restore into a sandbox.
func SandboxID(plan string) string { return "restore/" + plan }

// DrillID is the workflow id of a drill.
func DrillID(name string) string { return "drill/" + name }

// CheckID is the workflow id of the check of a group's vaults.
func CheckID(group string) string { return "check/" + group }

// Queue is the task queue of a region's workers unless the configuration names another.
func Queue(region string) string { return "drctl." + region }

// quick is for calls of a few seconds.
func quick(ctx workflow.Context, queue string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    time.Minute,
		ScheduleToStartTimeout: 2 * time.Minute,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 10 * time.Second, MaximumAttempts: 5},
	})
}

// awaited is quick for calls whose outcome must be known even when the
// workflow is cancelled meanwhile: what they made has to be undone.
func awaited(ctx workflow.Context, queue string) workflow.Context {
	opt := workflow.GetActivityOptions(quick(ctx, queue))
	opt.WaitForCancellation = true
	return workflow.WithActivityOptions(ctx, opt)
}

// long is for work that beats; limit bounds one attempt.
func long(ctx workflow.Context, queue string, limit time.Duration, attempts int32) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    limit,
		ScheduleToStartTimeout: 10 * time.Minute,
		HeartbeatTimeout:       30 * time.Second,
		WaitForCancellation:    true,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second, MaximumAttempts: attempts},
	})
}
