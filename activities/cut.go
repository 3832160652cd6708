package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/barrier"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/human"
	"drctl/internal/platform"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/restore/inventory"
	"drctl/targets"
)

// QuiesceCut takes a cut: the only activity that stops writers. All connections
// live in this one call, so that no dead worker can leave a barrier behind.
func (a *Activities) QuiesceCut(ctx context.Context, in GroupIn) (targets.Cut, error) {
	cut, err := a.quiesceCut(ctx, in.Group)
	return cut, engine.EncodeError(err)
}

func (a *Activities) quiesceCut(ctx context.Context, group string) (targets.Cut, error) {
	g, err := a.Platform.Group(group)
	if err != nil {
		return targets.Cut{}, err
	}

	stop := beatEvery(ctx, time.Second, func() engine.Beat {
		return engine.Beat{Phase: "barrier", Detail: fmt.Sprintf("%d shards", len(g.Shards))}
	})
	defer stop()

	if err := a.sealable(ctx, g); err != nil {
		return targets.Cut{}, err
	}
	parties := make([]barrier.Party, len(g.Shards))
	errs := make([]error, len(g.Shards))

	var wg sync.WaitGroup
	for i, s := range g.Shards {
		wg.Go(func() {
			inst, d, err := a.primaries().Primary(ctx, s.Shard)
			if err != nil {
				errs[i] = err
				return
			}

			f, ok := d.(targets.Quiescer)
			if !ok {
				errs[i] = fail.Newf(fail.Unsupported, "cut: barrier", inst.String(), "a store of kind %s cannot join a cut", inst.Kind)
				return
			}
			parties[i] = barrier.Party{Quiescer: f, Instance: inst}
		})
	}

	wg.Wait()

	for _, err := range errs {
		if err != nil {
			return targets.Cut{}, err
		}
	}

	var gate targets.ShardID
	if g.Policy.Mode == targets.Gate {
		if gate, err = targets.ParseShardID(g.Gate); err != nil {
			return targets.Cut{}, fail.New(fail.Invalid, "cut: barrier", group, "name the gate's shard in the group's configuration", err)
		}
	}

	return barrier.Take(ctx, parties, barrier.Options{Group: group, Mode: g.Policy.Mode, Gate: gate,
		Lease: g.Policy.Lease, Budget: g.Policy.Budget, LockTimeout: g.Policy.LockTimeout,
		Attempts: g.Policy.Attempts, Tool: "drctl " + a.Version, Log: a.Log})
}

// sealable asks, before writers are stopped, whether enough vaults answer to
// seal a cut. What is abandoned stays so: the stall would be for nothing.
func (a *Activities) sealable(ctx context.Context, g platform.Group) error {
	set, _, err := a.set(ctx, g.Name, g.Home)
	if err != nil {
		return err
	}

	if set, err = set.Answering(ctx); err != nil {
		return err
	}

	return set.Short("cut: not taken", g.Name)
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

	held, err := holders(ctx, set, in.Shard, pos)
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

	for _, v := range set.Vaults {
		vctx, cancel := context.WithTimeout(ctx, vault.Straggle)
		done, err := v.Cut(vctx, cut.Group, cut.ID)

		cancel()

		if err == nil && !done.SealedAt.IsZero() {
			cut = done
			_, err = set.SaveCut(ctx, cut) // a repeat completes the other vaults

			return cut, err
		}
	}
	lag := newLag(cut)

	stop := beatEvery(ctx, 2*time.Second, lag.beat)
	defer stop()
	held := make([][]string, len(cut.Shards))
	errs := make([]error, len(cut.Shards))
	before := newestSealed{group: cut.Group}

	var wg sync.WaitGroup
	for i, p := range cut.Shards {
		wg.Go(func() {
			defer lag.done(p.Shard)

			if p.Kind.Traits().Manifest {
				held[i], errs[i] = holders(ctx, set, p.Shard, p.Position)
				return
			}
			held[i], errs[i] = stream.AwaitRecoverable(ctx, set, p.Shard, p.Position, before.point(p.Shard), 100*time.Millisecond,
				func(n uint64) { lag.note(p.Shard, n) })
		})
	}

	wg.Wait()

	for i, err := range errs {
		if err != nil {
			hint := "is the shard's archiver running? see: drctl status"
			if fail.Is(err, fail.NotFound) {
				hint = "" // the error says itself what is missing
			}

			return cut, fail.New(fail.CodeOf(err), "cut: seal", cut.Shards[i].Shard.String(), hint, fmt.Errorf("cut %s is taken, not sealed: %w", cut.ID, err))
		}
	}

	cut.SealedIn = everywhere(held)
	if len(cut.SealedIn) < set.Need() {
		return cut, fail.Newf(fail.Unavailable, "cut: seal", cut.ID, "taken, not sealed: only %d of the %d vaults asked for hold the whole cut", len(cut.SealedIn), set.Need())
	}
	cut.SealedAt = time.Now().UTC()
	_, err = set.SaveCut(ctx, cut)

	return cut, err
}

// newestSealed finds the newest cut that was sealed in each vault, once: what is
// held up to there need not be looked for again.
type newestSealed struct {
	group string
	mu    sync.Mutex
	cuts  map[*vault.Vault]*targets.Cut
}

// point tells one shard's point of the newest cut that was sealed in a vault;
// the zero position when there is none.
func (n *newestSealed) point(shard targets.ShardID) func(context.Context, *vault.Vault) (targets.Position, error) {
	return func(ctx context.Context, v *vault.Vault) (targets.Position, error) {
		n.mu.Lock()
		cut := n.cuts[v]
		n.mu.Unlock()

		if cut == nil {
			newest, _, err := inventory.NewestCut(ctx, v, n.group)
			if err != nil && !fail.Is(err, fail.NotFound) {
				return targets.Position{}, err
			}
			cut = &newest

			n.mu.Lock()

			if n.cuts == nil {
				n.cuts = map[*vault.Vault]*targets.Cut{}
			}
			n.cuts[v] = cut
			n.mu.Unlock()
		}
		p, _ := cut.Point(shard)

		return p.Position, nil
	}
}

// holders lists the regions whose vaults hold the object manifest, and with it
// every object that it names: no other vault gets one. One that does not answer
// is not waited for once enough others hold it.
func holders(ctx context.Context, set vault.Set, shard targets.ShardID, at targets.Position) ([]string, error) {
	if at.Manifest == "" {
		return nil, fail.Newf(fail.Invalid, "cut: seal", shard.String(), "the object snapshot is missing")
	}

	var in []string
	for i, err := range set.Each(ctx, func(ctx context.Context, v *vault.Vault) error {
		r, err := v.Shard(shard).Manifest(ctx, at.Manifest)
		if err != nil {
			return err
		}
		return r.Close()
	}) {
		switch {
		case err == nil:
			in = append(in, set.Vaults[i].Region())
		case fail.Is(err, fail.NotFound), fail.Retryable(err), errors.Is(err, context.Canceled):
		default:
			return nil, err
		}
	}

	return in, ctx.Err()
}

// everywhere returns the regions that are in every list.
func everywhere(held [][]string) []string {
	if len(held) == 0 {
		return nil
	}

	var out []string
	for _, r := range held[0] {
		all := true
		for _, h := range held[1:] {
			all = all && slices.Contains(h, r)
		}

		if all {
			out = append(out, r)
		}
	}

	return out
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
	trails := map[*vault.Vault]map[targets.ShardID]*stream.Trail{}
	broken := map[*vault.Vault]error{}
	// Older cuts are retention's: one that it has removed must not come back.
	n, err := set.ShareCuts(ctx, group, time.Now().Add(-pol.Retention.KeepCuts), func(ctx context.Context, v *vault.Vault, c targets.Cut) (bool, error) {
		if broken[v] != nil {
			return false, nil // said once
		}

		if trails[v] == nil {
			trails[v] = map[targets.ShardID]*stream.Trail{}
		}

		for _, p := range c.Shards {
			t := trails[v][p.Shard]
			if t == nil {
				t = stream.NewTrail(v, p.Shard)
				trails[v][p.Shard] = t
			}

			ok, err := leadsTo(ctx, v, t, p)
			if err != nil {
				broken[v] = err
			}

			if !ok || err != nil {
				return false, err
			}
		}

		return true, nil
	})
	if n > 0 {
		a.Log.InfoContext(ctx, "vaults got cuts that they had missed", "records", n)
	}

	return err
}

// leadsTo reports whether the point can be recovered from the vault.
func leadsTo(ctx context.Context, v *vault.Vault, t *stream.Trail, p targets.ShardPoint) (bool, error) {
	if p.Kind.Traits().Manifest {
		r, err := v.Shard(p.Shard).Manifest(ctx, p.Position.Manifest)
		if err != nil {
			if fail.Is(err, fail.NotFound) {
				err = nil
			}

			return false, err
		}

		return true, r.Close()
	}
	lead, err := t.To(ctx, p.Position)

	return lead.Held(), err
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
