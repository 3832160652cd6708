package activities

import (
	"context"
	"fmt"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/targets"
)

// baseWait bounds the wait for the stream to reach a finished base: a base
// that its stream does not reach cannot be recovered from.
const baseWait = 5 * time.Minute

// TakeBase takes a base into the first vault of the policy and returns once
// the stream is durable up to it. A repeat under the same id returns the first.
func (a *Activities) TakeBase(ctx context.Context, in BaseIn) (BaseOut, error) {
	out, err := a.takeBase(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) takeBase(parent context.Context, in BaseIn) (BaseOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	beat := newBeater(ctx, in.Shard)
	beat.progress("start", 0, 0)
	inst, d, err := a.writable(ctx, in.Shard)
	if err != nil {
		return BaseOut{}, err
	}
	group, err := a.Platform.GroupOf(in.Shard)
	if err != nil {
		return BaseOut{}, err
	}
	set, pol, err := a.set(ctx, group, inst.Region)
	if err != nil {
		return BaseOut{}, err
	}
	home := set.Vaults[0]
	done, err := home.Bases(ctx, in.Shard)
	if err != nil && !fail.Is(err, fail.Corrupt) { // a damaged record is the check's to report
		return BaseOut{}, err
	}
	for _, b := range done {
		if b.ID == in.ID || strings.HasPrefix(b.ID, in.ID+"-r") {
			return BaseOut{Base: b, Vault: home.Region()}, a.reached(ctx, set, b, beat)
		}
	}
	// An attempt that died may have left files under its id, which are never
	// overwritten: each attempt has an id of its own.
	id := in.ID
	if n := activity.GetInfo(ctx).Attempt; n > 1 {
		id += fmt.Sprintf("-r%d", n)
	}
	full := in.Full || fullDue(done, inst.Region, pol.FullEvery)
	// restic opens its repository and PostgreSQL makes its checkpoint without
	// a report of progress; both have time-outs of their own.
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()
	art, err := d.Base(ctx, inst, targets.BaseRequest{ID: id, Full: full, Progress: beat.progress}, set.Shard(in.Shard).ForBase(id))
	if err != nil {
		return BaseOut{}, err
	}
	if !art.Full {
		art.SinceFull = 1 + done[len(done)-1].SinceFull // the first of all is full
	}
	beat.progress("record", art.Bytes, art.Bytes)
	// The record goes last, to every vault that has the data.
	if _, err := set.SaveBase(ctx, art); err != nil {
		return BaseOut{}, err
	}
	return BaseOut{Base: art, Vault: home.Region()}, a.reached(ctx, set, art, beat)
}

// fullDue says whether the next base must read every byte instead of trusting
// size and time, which can hide a change: every Nth must, and so must one whose
// parent is uncertain: there is none, or another server's directory was read.
// done are the bases that are still there, oldest first: retention removes
// some, so they say nothing by their number.
func fullDue(done []targets.Artifact, region string, every int) bool {
	if len(done) == 0 {
		return true
	}
	last := done[len(done)-1]
	return last.Region != region || every > 0 && last.SinceFull+1 >= every
}

// reached waits until the stream is durable from the base's beginning to its end.
func (a *Activities) reached(ctx context.Context, set vault.Set, b targets.Artifact, beat *beater) error {
	wctx, cancel := context.WithTimeout(ctx, baseWait)
	defer cancel()
	beat.progress("stream", 0, 0)
	most := uint64(0)
	missing := func(n uint64) {
		most = max(most, n)
		beat.progress("stream", int64(most-n), int64(most))
	}
	if _, err := stream.AwaitDurable(wctx, set, b.Shard, b.From, b.Until, 200*time.Millisecond, missing); err != nil {
		return fail.New(fail.CodeOf(err), "backup: wait for the stream", b.Shard.String(),
			"the base is stored but its stream does not reach it; is the shard's archiver running? see: drctl status", err)
	}
	return nil
}

// CopyVault brings a shard's bases and object snapshots from one vault to
// another, every byte checked on the way.
func (a *Activities) CopyVault(ctx context.Context, in CopyIn) error {
	return engine.EncodeError(a.copyVault(ctx, in))
}

func (a *Activities) copyVault(parent context.Context, in CopyIn) error {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	from, err := a.Platform.Vault(ctx, in.From)
	if err != nil {
		return err
	}
	to, err := a.Platform.Vault(ctx, in.To)
	if err != nil {
		return err
	}
	beat := newBeater(ctx, in.Shard)
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()
	for _, prefix := range []string{vault.ResticPrefix(in.Shard), vault.BasesPrefix(in.Shard), vault.SnapshotsPrefix(in.Shard)} {
		opt := vault.MirrorOptions{Progress: func(done, total int64) { beat.progress("copy to "+in.To, done, total) }}
		if _, err := vault.Mirror(ctx, from, to, prefix, opt); err != nil {
			return err
		}
	}
	return nil
}
