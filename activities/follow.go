package activities

import (
	"context"
	"errors"
	"io"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	// followFor is how long one activity follows before it hands over to the
	// next, so that histories stay short and configuration changes are noticed.
	followFor = time.Hour
	// holeAgain is how long it follows when a base was asked for, before it says
	// again that there is none.
	holeAgain = 5 * time.Minute
	// resyncFor is how long a log may take to begin: a full resync of Redis
	// delivers its image first. The activity itself may take two hours.
	resyncFor = 100 * time.Minute
)

// errBroken ends the following so that the caller can start a base.
var errBroken = errors.New("the log is interrupted")

// errTime ends it when it is time to hand over.
var errTime = errors.New("its time is up")

// FollowShard streams one shard's log into the vaults until its time is up,
// the worker stops, the log cannot go on, or it was interrupted so that only a
// new base leads to what is archived now. A caller that has seen to the base
// says so, and following goes on: a base needs it.
func (a *Activities) FollowShard(ctx context.Context, in FollowIn) (FollowOut, error) {
	out, err := a.follow(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) follow(parent context.Context, in FollowIn) (FollowOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	// An idle log makes no progress and is not stalled: its liveness is the
	// protocol's own keep-alive, without which the follower returns an error.
	// Nor is a start that lists and joins large vaults: each of their calls has a
	// time-out of its own. So this activity may beat by the clock.
	type following struct {
		arch  *stream.Archiver
		inst  targets.Instance
		begun <-chan struct{}
	}
	var now atomic.Pointer[following]
	failing := failingSince(ctx)
	stop := beatEvery(ctx, 2*time.Second, func() Beat {
		f := now.Load()
		if f == nil {
			return Beat{Shard: in.Shard.String(), Phase: phaseStarting, Failing: failing}
		}
		at, _ := f.arch.Tail()
		durable := f.arch.Durable()
		select {
		case <-f.begun:
		default:
			return Beat{Shard: in.Shard.String(), Phase: phaseStarting, Failing: failing, Offset: durable, Detail: f.inst.String()}
		}
		return Beat{Shard: in.Shard.String(), Phase: PhaseFollowing, Offset: durable, Done: int64(durable), Total: int64(at.Offset), Detail: f.inst.String()}
	})
	defer stop()
	inst, d, err := a.writable(ctx, in.Shard)
	if err != nil {
		return FollowOut{}, err
	}
	follower, ok := d.(targets.Follower)
	if !ok {
		return FollowOut{}, fail.Newf(fail.Unsupported, "follow", inst.String(), "a store of kind %s has no log to follow", inst.Kind)
	}
	group, err := a.Platform.GroupOf(in.Shard)
	if err != nil {
		return FollowOut{}, err
	}
	set, pol, err := a.set(ctx, group, inst.Region)
	if err != nil {
		return FollowOut{}, err
	}
	arch, err := stream.NewArchiver(ctx, stream.Options{Set: set, Shard: in.Shard, Kind: inst.Kind, Region: inst.Region,
		ChunkAge: pol.ChunkAge, ChunkSize: pol.ChunkSize, Log: a.Log})
	if err != nil {
		return FollowOut{}, err
	}
	defer arch.Abort()
	to := &paced{Archiver: arch, begun: make(chan struct{})}
	now.Store(&following{arch, inst, to.begun})
	broken := func() string {
		if b, yes := stream.NeedsBase(arch.Lineages(), basesOf(ctx, set, in.Shard)); yes {
			return b.String()
		}
		return ""
	}
	out := FollowOut{Group: group, Break: broken()}
	if out.Break != "" && !in.BaseAsked {
		return out, nil
	}
	limit := followFor
	if len(set.Vaults) < len(pol.Vaults) {
		limit = time.Minute // look again for the vault that is out of reach
	}
	if out.Break != "" {
		limit = min(limit, holeAgain)
	}
	fctx, end := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		if to.wait(fctx, limit) {
			end(errTime)
		}
	})
	watch.Go(func() {
		for {
			select {
			case <-fctx.Done():
				return
			case <-arch.Interrupted():
				if broken() != "" {
					end(errBroken)
				}
			}
		}
	})
	err = follower.Follow(fctx, inst, to)
	// What was received is flushed even when the caller is gone, within reason.
	cctx, ccancel := context.WithTimeout(context.WithoutCancel(parent), 20*time.Second)
	defer ccancel()
	cerr := arch.Close(cctx)
	cause := context.Cause(fctx)
	end(nil)
	watch.Wait()
	switch {
	case context.Cause(ctx) == errStopping:
		return out, errStopping
	case parent.Err() != nil:
		return out, parent.Err()
	case cause == errBroken, cause == errTime && errors.Is(err, context.Canceled):
		err = nil
	}
	out.Break = broken()
	return out, errors.Join(err, cerr)
}

// paced tells when an archive's time is up: a limit after its log has begun,
// and never while an image is stored, which would begin again from nothing.
type paced struct {
	*stream.Archiver
	once  sync.Once
	begun chan struct{}
	image atomic.Int32
}

func (p *paced) Begin(ctx context.Context, lineage string, offset uint64, parent targets.Position, history []byte) error {
	err := p.Archiver.Begin(ctx, lineage, offset, parent, history)
	p.once.Do(func() { close(p.begun) })
	return err
}

func (p *paced) Base(ctx context.Context, at targets.Position, image io.Reader, settings map[string]string) error {
	p.image.Add(1)
	defer p.image.Add(-1)
	return p.Archiver.Base(ctx, at, image, settings)
}

// wait returns true when the time is up, false when ctx ends.
func (p *paced) wait(ctx context.Context, limit time.Duration) bool {
	select {
	case <-p.begun:
	case <-time.After(resyncFor):
		return true
	case <-ctx.Done():
		return false
	}
	for until := time.After(limit); ; until = time.After(time.Second) {
		select {
		case <-until:
			if p.image.Load() == 0 {
				return true
			}
		case <-ctx.Done():
			return false
		}
	}
}

// basesOf lists the bases that any of the vaults holds. Damage, and a vault
// that does not answer, are for others to report.
func basesOf(ctx context.Context, set vault.Set, shard targets.ShardID) []targets.Artifact {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // archiving waits for it
	defer cancel()
	found := make([][]targets.Artifact, len(set.Vaults))
	var wg sync.WaitGroup
	for i, v := range set.Vaults {
		wg.Go(func() { found[i], _ = v.Bases(ctx, shard) })
	}
	wg.Wait()
	return slices.Concat(found...)
}

// set opens the vaults of a group's policy, the region's own first.
func (a *Activities) set(ctx context.Context, group, region string) (vault.Set, Policy, error) {
	g, err := a.Platform.Group(group)
	if err != nil {
		return vault.Set{}, Policy{}, err
	}
	s, err := a.Platform.Set(ctx, group, region)
	return s, g.Policy, err
}
