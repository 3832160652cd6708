package activities

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/activities/observing"
	"drctl/internal/cutting"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/sealing"
	"drctl/restore/inventory"
	"drctl/targets"
)

// QuiesceCut takes a cut: the only activity that keeps writers waiting, if the policy
// wants that. All connections live in this one call, so that no dead worker can leave
// a barrier behind.
func (a *Activities) QuiesceCut(ctx context.Context, in GroupIn) (targets.Cut, error) {
	cut, err := a.quiesceCut(ctx, in.Group)
	return cut, engine.EncodeError(err)
}

func (a *Activities) quiesceCut(ctx context.Context, group string) (targets.Cut, error) {
	g, err := a.Platform.Group(group)
	if err != nil {
		return targets.Cut{}, err
	}

	beat := engine.Beat{Phase: "barrier", Detail: fmt.Sprintf("%d shards", len(g.Shards))}
	stop := beatEvery(ctx, time.Second, func() engine.Beat { return beat })
	defer stop()

	// Writers are not stopped for a cut that cannot be sealed: what is abandoned stays so.
	set, _, err := a.set(ctx, g.Name, g.Home)
	if err != nil {
		return targets.Cut{}, err
	}

	if set, err = set.Answering(ctx); err != nil {
		return targets.Cut{}, err
	}

	if err := set.Short("cut: not taken", g.Name); err != nil {
		return targets.Cut{}, err
	}

	observer, err := observing.Here(ctx, a.Observers, group, a.HostQueue)
	if err != nil {
		return targets.Cut{}, err
	}

	return a.cuts.Take(ctx, cutting.Ask{Group: g, Set: set, Primary: a.primaries().Primary, Logs: a.Logs, Observer: observer, Flush: a.live.Flush, Version: a.Version, Log: a.Log})
}

// SnapshotObjects records an object store as of an instant: that of a cut, or
// the start of a backup.
func (a *Activities) SnapshotObjects(ctx context.Context, in SnapshotIn) (SnapshotOut, error) {
	out, err := a.snapshot(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) snapshot(parent context.Context, in SnapshotIn) (SnapshotOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)

	inst, d, err := a.primaries().Primary(ctx, in.Shard)
	if err != nil {
		return SnapshotOut{}, err
	}

	s, ok := d.(targets.Snapshotter)
	if !ok {
		return SnapshotOut{}, fail.Newf(fail.Unsupported, "snapshot", inst.String(), "a store of kind %s has no objects", inst.Kind)
	}

	group, err := a.Platform.GroupOf(in.Shard)
	if err != nil {
		return SnapshotOut{}, err
	}

	set, pol, err := a.set(ctx, group, inst.Region)
	if err != nil {
		return SnapshotOut{}, err
	}

	if in.Anywhere {
		if set, err = set.Answering(ctx); err != nil {
			return SnapshotOut{}, err
		}
		set.Durability = min(set.Need(), len(set.Vaults))
	} else if err := set.Short("snapshot", inst.String()); err != nil {
		return SnapshotOut{}, err
	}
	var sofar atomic.Pointer[targets.SnapshotStats]
	sofar.Store(&targets.SnapshotStats{})

	stop := beatEvery(ctx, 2*time.Second, func() engine.Beat {
		st := sofar.Load()

		return engine.Beat{Shard: in.Shard.String(), Phase: "objects", Done: st.Bytes,
			Detail: fmt.Sprintf("%d objects, %d new (%s)", st.Objects, st.NewObjects, human.Bytes(st.NewBytes))}
	})
	defer stop()

	pos, stats, err := s.Snapshot(ctx, inst, in.AsOf, set.Shard(in.Shard), func(st targets.SnapshotStats) { sofar.Store(&st) })
	if err == nil && stats.Failed > 0 {
		err = fail.Newf(fail.Unavailable, "snapshot", inst.String(), "%d objects could not be read", stats.Failed)
	}

	warnings := unnamed(stats)
	if err == nil && len(warnings) > 0 && pol.Unnameable == refuseUnnameable {
		err = fail.New(fail.Unsupported, "snapshot", inst.String(),
			"rename the objects with the program that made them, or remove them; cut.unnameable: skip in the policy takes cuts without them", errors.New(warnings[0]))
	}

	if err != nil {
		return SnapshotOut{}, err
	}

	held, err := sealing.Holders(ctx, set, in.Shard, pos)
	if err == nil && len(held) < set.Need() {
		err = fail.Newf(fail.Unavailable, "snapshot", inst.String(), "only %d of the %d vaults asked for hold it", len(held), set.Need())
	}

	return SnapshotOut{Position: pos, Stats: stats, Vaults: held, Warnings: warnings}, err
}

// refuseUnnameable is the policy's word for no cut without every object.
const refuseUnnameable = "refuse"

// unnamed says which objects are not in a snapshot.
func unnamed(st targets.SnapshotStats) []string {
	if st.Unnamed == 0 {
		return nil
	}

	text := fmt.Sprintf("%d objects are not in it, because the server cannot name their keys in a listing; it shows them as %s", st.Unnamed, strings.Join(st.UnnamedKeys, ", "))
	if more := st.Unnamed - int64(len(st.UnnamedKeys)); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}

	return []string{text}
}

// SealCut waits until every shard can be recovered to the cut from as many
// vaults as the policy asks for, a base and an unbroken durable stream of each
// leading there, and writes the cut's record into them. A cut that is sealed
// already is returned as it is.
func (a *Activities) SealCut(ctx context.Context, in CutIn) (targets.Cut, error) {
	cut, err := a.seal(ctx, in.Cut)
	return cut, engine.EncodeError(err)
}

func (a *Activities) seal(ctx context.Context, cut targets.Cut) (targets.Cut, error) {
	g, err := a.Platform.Group(cut.Group)
	if err != nil {
		return cut, err
	}

	set, _, err := a.set(ctx, cut.Group, g.Home)
	if err != nil {
		return cut, err
	}

	if err := set.Short("cut: taken, not sealed", cut.ID); err != nil {
		return cut, err
	}

	lag := sealing.NewLag(cut)

	stop := beatEvery(ctx, 2*time.Second, func() engine.Beat {
		done, total, waits := lag.Now()
		return engine.Beat{Phase: "seal", Done: done, Total: total, Detail: waits}
	})
	defer stop()

	return sealing.Seal(ctx, set, cut, lag)
}

// ShareCuts gives the records of a group's sealed cuts to the vaults that could
// not be reached when they were sealed and hold all that the cuts need by now.
func (a *Activities) ShareCuts(ctx context.Context, in GroupIn) error {
	return engine.EncodeError(a.shareCuts(ctx, in.Group))
}

func (a *Activities) shareCuts(parent context.Context, group string) error {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)

	g, err := a.Platform.Group(group)
	if err != nil {
		return err
	}

	set, pol, err := a.set(ctx, group, g.Home)
	if err != nil {
		return err
	}

	stop := beatEvery(ctx, 2*time.Second, func() engine.Beat { return engine.Beat{Phase: "share cuts"} })
	defer stop()
	// Older cuts are retention's: one that it has removed must not come back.
	n, err := sealing.Share(ctx, set, group, time.Now().Add(-pol.Retention.KeepCuts))
	if n > 0 {
		a.Log.InfoContext(ctx, "vaults got cuts that they had missed", "records", n)
	}

	return err
}

// AbandonCut records a cut that could not be sealed in time, so that it is
// reported and not forgotten.
func (a *Activities) AbandonCut(ctx context.Context, in CutIn) error {
	return engine.EncodeError(a.abandon(ctx, in))
}

func (a *Activities) abandon(ctx context.Context, in CutIn) error {
	g, err := a.Platform.Group(in.Cut.Group)
	if err != nil {
		return err
	}

	err = platform.SaveReport(ctx, a.Platform, g, inventory.AbandonedReports, in.Cut.ID, inventory.AbandonedCut{Cut: in.Cut, Reason: in.Reason,
		AbandonedAt: time.Now().UTC(), Run: activity.GetInfo(ctx).WorkflowExecution.RunID})
	if fail.Is(err, fail.Conflict) {
		return nil // a repeat
	}

	return err
}
