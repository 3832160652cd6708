package activities

import (
	"context"
	"errors"
	"time"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// followFor is how long one activity follows before it hands over to the
// next, so that histories stay short and configuration changes are noticed.
const followFor = time.Hour

// FollowShard streams one shard's log into the vaults until its time is up,
// the worker stops or the log cannot go on.
func (a *Activities) FollowShard(ctx context.Context, in ShardIn) error {
	return engine.EncodeError(a.follow(ctx, in.Shard))
}

func (a *Activities) follow(parent context.Context, shard targets.ShardID) error {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	inst, d, err := a.writable(ctx, shard)
	if err != nil {
		return err
	}
	follower, ok := d.(targets.Follower)
	if !ok {
		return fail.Newf(fail.Unsupported, "follow", inst.String(), "a store of kind %s has no log to follow", inst.Kind)
	}
	group, err := a.Platform.GroupOf(shard)
	if err != nil {
		return err
	}
	set, pol, err := a.set(ctx, group, inst.Region)
	if err != nil {
		return err
	}
	// An idle log makes no progress and is not stalled: its liveness is the
	// protocol's own keep-alive, without which the follower returns an error.
	// So this activity may beat by the clock.
	arch, err := stream.NewArchiver(ctx, stream.Options{Set: set, Shard: shard, Kind: inst.Kind, Region: inst.Region,
		ChunkAge: pol.ChunkAge, ChunkSize: pol.ChunkSize, Log: a.Log})
	if err != nil {
		return err
	}
	beat := func() Beat {
		at, _ := arch.Tail()
		return Beat{Shard: shard.String(), Phase: "following", Offset: arch.Durable(), Done: int64(arch.Durable()), Total: int64(at.Offset), Detail: inst.String()}
	}
	stop := beatEvery(ctx, 2*time.Second, beat)
	defer stop()
	limit := followFor
	if len(set.Vaults) < len(pol.Vaults) {
		limit = time.Minute // look again for the vault that is out of reach
	}
	fctx, done := context.WithTimeout(ctx, limit)
	defer done()
	err = follower.Follow(fctx, inst, arch)
	// What was received is flushed even when the caller is gone, within reason.
	cctx, ccancel := context.WithTimeout(context.WithoutCancel(parent), 20*time.Second)
	defer ccancel()
	cerr := arch.Close(cctx)
	switch {
	case context.Cause(ctx) == errStopping:
		return errStopping
	case parent.Err() != nil:
		return parent.Err()
	case errors.Is(err, context.DeadlineExceeded) && fctx.Err() != nil:
		err = nil // its time is up
	}
	return errors.Join(err, cerr)
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
