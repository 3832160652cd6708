package workflows

import (
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/targets"
)

// TakeBackupIn asks for a base of every shard of a group that has a log, and
// for a snapshot of every object store.
type TakeBackupIn struct {
	Group  activities.Group  `json:"group"`
	Shards []targets.ShardID `json:"shards,omitempty"` // empty: all
	Full   bool              `json:"full"`
	// Window is how many are taken at once; 0 means 4.
	Window int `json:"window"`
}

// BackupOut is the outcome of a backup.
type BackupOut struct {
	Bases   []BaseOut    `json:"bases"`
	Objects []ObjectsOut `json:"objects"`
}

// BaseOut is one shard's outcome: a base or an error.
type BaseOut struct {
	Shard    targets.ShardID  `json:"shard"`
	Base     targets.Artifact `json:"base,omitzero"`
	CopiedTo []string         `json:"copied_to,omitempty"`
	Error    string           `json:"error,omitempty"`
}

// ObjectsOut is one object store's outcome: a snapshot or an error.
type ObjectsOut struct {
	Shard    targets.ShardID       `json:"shard"`
	Position targets.Position      `json:"position,omitzero"`
	Stats    targets.SnapshotStats `json:"stats"`
	Error    string                `json:"error,omitempty"`
}

// TakeBackup takes the bases and copies each to the policy's other vaults, and
// takes a snapshot of each object store. A cut's own snapshot moves only what
// has changed since the last one, so the first, which moves everything, has to
// be one without the limit that a cut sets. One shard's failure does not stop
// the others; the caller sees each.
func TakeBackup(ctx workflow.Context, in TakeBackupIn) (BackupOut, error) {
	stamp := workflow.Now(ctx).UTC().Format("20060102T150405Z")
	if in.Window <= 0 {
		in.Window = 4
	}
	var logs, stores []activities.GroupShard
	for _, s := range in.Group.Shards {
		switch {
		case len(in.Shards) > 0 && !contains(in.Shards, s.Shard):
		case s.Kind == targets.S3:
			stores = append(stores, s)
		default:
			logs = append(logs, s)
		}
	}
	out := BackupOut{Bases: make([]BaseOut, len(logs)), Objects: make([]ObjectsOut, len(stores))}
	sem := workflow.NewSemaphore(ctx, int64(in.Window))
	wg := workflow.NewWaitGroup(ctx)
	for i := range len(logs) + len(stores) {
		if err := sem.Acquire(ctx, 1); err != nil {
			wg.Wait(ctx)
			return out, err
		}
		wg.Add(1)
		workflow.Go(ctx, func(ctx workflow.Context) {
			defer wg.Done()
			defer sem.Release(1)
			if i < len(logs) {
				out.Bases[i] = backupShard(ctx, in, logs[i], stamp)
			} else {
				out.Objects[i-len(logs)] = backupObjects(ctx, stores[i-len(logs)])
			}
		})
	}
	wg.Wait(ctx)
	return out, ctx.Err()
}

func backupObjects(ctx workflow.Context, s activities.GroupShard) ObjectsOut {
	o := ObjectsOut{Shard: s.Shard}
	var taken activities.SnapshotOut
	err := workflow.ExecuteActivity(long(ctx, s.Queue, 24*time.Hour, 4), activities.SnapshotName,
		activities.SnapshotIn{Shard: s.Shard, AsOf: workflow.Now(ctx).UTC()}).Get(ctx, &taken)
	if err != nil {
		o.Error = text(err)
		return o
	}
	o.Position, o.Stats = taken.Position, taken.Stats
	return o
}

func backupShard(ctx workflow.Context, in TakeBackupIn, s activities.GroupShard, stamp string) BaseOut {
	b := BaseOut{Shard: s.Shard}
	lctx := long(ctx, s.Queue, 24*time.Hour, 4)
	id := stamp + "-" + s.Shard.Target + "-" + s.Shard.Shard
	var taken activities.BaseOut
	if err := workflow.ExecuteActivity(lctx, activities.TakeBaseName, activities.BaseIn{Shard: s.Shard, ID: id, Full: in.Full}).Get(ctx, &taken); err != nil {
		b.Error = text(err)
		return b
	}
	b.Base = taken.Base
	from := taken.Vault
	for _, to := range in.Group.Policy.Vaults {
		if to == from {
			continue
		}
		if err := workflow.ExecuteActivity(lctx, activities.CopyVaultName, activities.CopyIn{Shard: s.Shard, From: from, To: to}).Get(ctx, nil); err != nil {
			b.Error = "copy to " + to + ": " + text(err)
			continue
		}
		b.CopiedTo = append(b.CopiedTo, to)
	}
	return b
}

func contains(ids []targets.ShardID, id targets.ShardID) bool {
	for _, x := range ids {
		if x == id {
			return true
		}
	}
	return false
}
