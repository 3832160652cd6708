package workflows

import (
	"slices"
	"time"

	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/internal/platform"
	"drctl/targets"
	"drctl/workflows/unserved"
)

// TakeBackupIn asks for a base of every shard of a group that has a log, and
// for a snapshot of every object store.
type TakeBackupIn struct {
	Group  platform.Group    `json:"group"`
	Shards []targets.ShardID `json:"shards,omitempty"` // empty: all
	Full   bool              `json:"full"`
	// Window is how many are taken at once; 0 means 4.
	Window int `json:"window"`
}

// BackupOut is the outcome of a backup.
type BackupOut struct {
	Bases   []BaseOut    `json:"bases"`
	Objects []ObjectsOut `json:"objects"`
	// CutsError is why some vaults may lack records of cuts that they missed.
	CutsError string `json:"cuts_error,omitempty"`
}

// BaseOut is one shard's outcome: a base or an error.
type BaseOut struct {
	Shard    targets.ShardID  `json:"shard"`
	Base     targets.Artifact `json:"base,omitzero"`
	Vault    string           `json:"vault,omitempty"` // region; that it was taken into
	CopiedTo []string         `json:"copied_to,omitempty"`
	// Behind is why other vaults of the policy do not hold the base; the next
	// backup copies it to them.
	Behind string `json:"behind,omitempty"`
	Error  string `json:"error,omitempty"`
}

// ObjectsOut is one object store's outcome: a snapshot or an error.
type ObjectsOut struct {
	Shard    targets.ShardID       `json:"shard"`
	Position targets.Position      `json:"position,omitzero"`
	Stats    targets.SnapshotStats `json:"stats"`
	StoredIn []string              `json:"stored_in,omitempty"` // regions
	// Behind is why other vaults of the policy do not hold it; the next backup
	// copies it to them.
	Behind string `json:"behind,omitempty"`
	Error  string `json:"error,omitempty"`
}

// TakeBackup takes the bases and copies each to the policy's other vaults, and
// takes a snapshot of each object store.
//
// A cut's own snapshot moves only what has changed since the last one, within the
// cut's limit. The first snapshot moves everything: it has to be one of a backup,
// which has no such limit.
//
// One shard's failure does not stop the others; the caller sees each. In the end
// every vault gets the cuts that it missed while it could not be reached.
func TakeBackup(ctx workflow.Context, in TakeBackupIn) (BackupOut, error) {
	stamp := workflow.Now(ctx).UTC().Format("20060102T150405Z")

	if in.Window <= 0 {
		in.Window = 4
	}

	var logs, stores []platform.Shard
	for _, s := range in.Group.Shards {
		switch {
		case len(in.Shards) > 0 && !slices.Contains(in.Shards, s.Shard):
		case s.Kind.Traits().Manifest:
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
				out.Objects[i-len(logs)] = backupObjects(ctx, in, stores[i-len(logs)])
			}
		})
	}

	wg.Wait(ctx)

	if ctx.Err() == nil && len(in.Group.Policy.Vaults) > 1 {
		err := workflow.ExecuteActivity(longRunning(ctx, in.Group.Queue(in.Group.Home), time.Hour, 3), activities.ShareCutsName,
			activities.GroupIn{Group: in.Group.Name}).Get(ctx, nil)
		if err != nil {
			out.CutsError = errorText(err)
		}
	}

	return out, ctx.Err()
}

func backupObjects(ctx workflow.Context, in TakeBackupIn, s platform.Shard) ObjectsOut {
	o := ObjectsOut{Shard: s.Shard}
	lctx := longRunning(ctx, s.Queue, 24*time.Hour, 4)

	var taken activities.SnapshotOut
	if err := workflow.ExecuteActivity(lctx, activities.SnapshotName,
		activities.SnapshotIn{Shard: s.Shard, AsOf: workflow.Now(ctx).UTC(), Anywhere: true}).Get(ctx, &taken); err != nil {
		o.Error = errorText(err)
		return o
	}
	o.Position, o.Stats, o.StoredIn = taken.Position, taken.Stats, taken.Vaults
	// A vault that was too slow for the snapshot, or missed earlier ones.
	for _, to := range in.Group.Policy.Vaults {
		from := taken.Vaults[0]
		if to == from {
			continue
		}

		if err := workflow.ExecuteActivity(lctx, activities.CopyVaultName, activities.CopyIn{Shard: s.Shard, From: from, To: to}).Get(ctx, nil); err != nil {
			o.Behind = joined(o.Behind, "copy to "+to+": "+errorText(err))
		} else if !slices.Contains(o.StoredIn, to) {
			o.StoredIn = append(o.StoredIn, to)
		}
	}

	return o
}

func backupShard(ctx workflow.Context, in TakeBackupIn, s platform.Shard, stamp string) BaseOut {
	b := BaseOut{Shard: s.Shard}
	lctx := longRunning(ctx, s.Queue, 24*time.Hour, 4)
	id := stamp + "-" + s.Shard.Target + "-" + s.Shard.Shard

	taken, err := takeBase(ctx, in, s, activities.BaseIn{Shard: s.Shard, ID: id, Full: in.Full})
	if err != nil {
		b.Error = errorText(err)
		return b
	}
	b.Base, b.Vault = taken.Base, taken.Vault

	copyTo := func(ctx workflow.Context, from, to string) error {
		err := workflow.ExecuteActivity(ctx, activities.CopyVaultName, activities.CopyIn{Shard: s.Shard, From: from, To: to}).Get(ctx, nil)
		if err != nil {
			b.Behind = joined(b.Behind, "copy to "+to+": "+errorText(err))
		}

		return err
	}
	for _, to := range in.Group.Policy.Vaults {
		if to == taken.Vault {
			continue
		}

		cctx := lctx
		if slices.Contains(taken.Away, to) {
			cctx = longRunning(ctx, s.Queue, 24*time.Hour, 1) // it has not answered a moment ago
		}

		if copyTo(cctx, taken.Vault, to) == nil {
			b.CopiedTo = append(b.CopiedTo, to)
		}
	}
	// Bases that were taken while this vault was away.
	for _, from := range taken.Missed {
		_ = copyTo(lctx, from, taken.Vault) // it is in Behind
	}

	return b
}

// takeBase takes a base on the host that the data directory of the primary is on. That
// the primary has moved to another is seen there.
func takeBase(ctx workflow.Context, in TakeBackupIn, s platform.Shard, want activities.BaseIn) (out activities.BaseOut, err error) {
	at, queue := s.Region, platform.Queue(s.Queue, s.Host, platform.Base)

	for {
		err = workflow.ExecuteActivity(longRunning(ctx, queue, 24*time.Hour, 4), activities.TakeBaseName, want).Get(ctx, &out)
		if err != nil || out.At.Host == "" {
			return out, unserved.Said(err, at, queue)
		}

		at, queue = out.At.Region, platform.Queue(in.Group.Queue(out.At.Region), out.At.Host, platform.Base)
		want.Here, out = true, activities.BaseOut{}
	}
}

// joined appends to a list of reasons.
func joined(list, more string) string {
	if list == "" {
		return more
	}

	return list + "; " + more
}
