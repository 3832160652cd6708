package workflows

import (
	"log/slog"

	"drctl/activities"
	"drctl/activities/actions"
	"drctl/targets"
	"drctl/workflows/recovery"
)

// Labels is what an input of a workflow or an activity says of its work, for
// every log line about it, with the keys of the log.
func Labels(in any) []slog.Attr {
	switch in := in.(type) {
	case ArchiveIn:
		return onShard(in.Shard.Shard)
	case TakeCutIn:
		return onGroup(in.Group.Name)
	case TakeBackupIn:
		return onGroup(in.Group.Name)
	case CheckAllIn:
		return onGroup(in.Group.Name)
	case RunDrillIn:
		return onGroup(in.Drill.Group)
	case activities.FollowIn:
		return onShard(in.Shard)
	case activities.SnapshotIn:
		return onShard(in.Shard)
	case activities.BaseIn:
		return append(onShard(in.Shard), slog.String("base", in.ID))
	case activities.CopyIn:
		return onShard(in.Shard)
	case recovery.In:
		return onGroup(in.Group)
	case actions.Call:
		return []slog.Attr{slog.String("step", in.Step)}
	case activities.StepIn:
		return []slog.Attr{slog.String("step", in.StepID)}
	case activities.GroupIn:
		return onGroup(in.Group)
	case activities.CutIn:
		return append(onGroup(in.Cut.Group), slog.String("cut", in.Cut.ID))
	case activities.CheckIn:
		return append(onGroup(in.Group), slog.String("vault", in.Region))
	case activities.PickIn:
		return onGroup(in.Drill.Group)
	case activities.CrossIn:
		return onGroup(in.Drill.Group)
	case activities.FinishIn:
		return onGroup(in.Drill.Group)
	}

	return nil
}

func onShard(id targets.ShardID) []slog.Attr { return []slog.Attr{slog.String("shard", id.String())} }

func onGroup(name string) []slog.Attr { return []slog.Attr{slog.String("group", name)} }
