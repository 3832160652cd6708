package workflows

import (
	"cmp"
	"strings"
	"time"

	"go.temporal.io/sdk/temporal"
	"go.temporal.io/sdk/workflow"

	"drctl/internal/platform"
	"drctl/targets"
)

// The names under which workflows are registered.
const (
	TakeCutName    = "TakeCut"
	TakeBackupName = "TakeBackup"
	ArchiveName    = "Archive"
	ObserveName    = "Observe"
	RestoreName    = "Restore"
	RunDrillName   = "RunDrill"
	GameDayName    = "RunGameDay"
	CheckName      = "Check"
	RetainName     = "Retain"
	ScheduledName  = "Scheduled"
)

// IDs makes the workflow ids of one platform; its value is the platform's name.
// An id is a lock: two cuts of one group cannot run at once, whoever starts them.
//
// Ids begin with the platform's name and a colon, which no name holds, so that
// platforms may share a namespace. Without a name they begin with the kind. That
// is so where a vault alone is left, and for runs of a drctl that put no names
// into ids.
type IDs string

func (p IDs) id(kind, name string) string { return p.Prefix() + kind + "/" + name }

// Prefix is what all ids of the platform begin with.
func (p IDs) Prefix() string {
	if p == "" {
		return ""
	}

	return string(p) + ":"
}

// Cut is the workflow id of a group's cuts.
func (p IDs) Cut(group string) string { return p.id("cut", group) }

// Backup is the workflow id of a group's backups, and of its retention: what
// is being written must not be judged for removal.
func (p IDs) Backup(group string) string { return p.id("backup", group) }

// Retain is the id of the schedule of a group's retention.
func (p IDs) Retain(group string) string { return p.id("retain", group) }

// Archive is the workflow id of a shard's archiver.
func (p IDs) Archive(s targets.ShardID) string { return p.id("archive", s.String()) }

// Observe is the workflow id of a group's observer.
func (p IDs) Observe(group string) string { return p.id("observe", group) }

// Recover is the workflow id of recoveries of a group into instances.
func (p IDs) Recover(group string) string { return p.id("recover", group) }

// Sandbox is the workflow id of a restore into a sandbox.
func (p IDs) Sandbox(plan string) string { return p.id("restore", plan) }

// Drill is the workflow id of a drill.
func (p IDs) Drill(name string) string { return p.id("drill", name) }

// Check is the workflow id of the check of a group's vaults.
func (p IDs) Check(group string) string { return p.id("check", group) }

// Scheduled is the beginning of the ids of a schedule's runs, to which the
// engine appends the time.
func (p IDs) Scheduled(schedule string) string {
	return p.id("scheduled", strings.TrimPrefix(schedule, p.Prefix()))
}

// Kind is the part of one of the platform's ids that says what runs, such as
// "archive"; "" is another platform's id, or nobody's of drctl.
func (p IDs) Kind(id string) string {
	rest, ours := strings.CutPrefix(id, p.Prefix())

	kind, _, ok := strings.Cut(rest, "/")
	if !ours || !ok || strings.Contains(kind, ":") {
		return ""
	}

	return kind
}

// Queue is the task queue of a region's workers where no configuration names one.
func Queue(region string) string { return "drctl." + region }

// sandboxes is the queue of those who may open a sandbox in the region of a queue.
func sandboxes(named, region string) string {
	return cmp.Or(named, platform.Queue(region, "", platform.Sandbox))
}

// shortCall is for calls of a few seconds.
func shortCall(ctx workflow.Context, queue string) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    time.Minute,
		ScheduleToStartTimeout: 2 * time.Minute,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 10 * time.Second, MaximumAttempts: 5},
	})
}

// mustComplete is shortCall for calls whose outcome must be known even when the
// workflow is cancelled meanwhile: what they made has to be undone.
func mustComplete(ctx workflow.Context, queue string) workflow.Context {
	opt := workflow.GetActivityOptions(shortCall(ctx, queue))
	opt.WaitForCancellation = true

	return workflow.WithActivityOptions(ctx, opt)
}

// longRunning is for work that beats; limit bounds one attempt.
func longRunning(ctx workflow.Context, queue string, limit time.Duration, attempts int32) workflow.Context {
	return workflow.WithActivityOptions(ctx, workflow.ActivityOptions{
		TaskQueue:              queue,
		StartToCloseTimeout:    limit,
		ScheduleToStartTimeout: 10 * time.Minute,
		HeartbeatTimeout:       30 * time.Second,
		WaitForCancellation:    true,
		RetryPolicy:            &temporal.RetryPolicy{InitialInterval: time.Second, MaximumInterval: 30 * time.Second, MaximumAttempts: attempts},
	})
}
