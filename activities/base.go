package activities

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.temporal.io/sdk/activity"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/retry"
	"drctl/internal/stream"
	"drctl/internal/stream/begun"
	"drctl/internal/vault"
	"drctl/targets"
)

const (
	// baseWait bounds the wait for the stream to reach a finished base: a base
	// that its stream does not reach cannot be recovered from.
	baseWait = 5 * time.Minute
	// archiverWait bounds the wait for the archiver to begin the log that a base
	// belongs to. One that failed comes back within half a minute. Past it the
	// base is tried all the same: what keeps the archiver from the server may
	// keep the base from it, too, and then the server says what that is.
	archiverWait = 45 * time.Second
	// baseTries is how often a base is taken whose log began anew meanwhile.
	baseTries = 3
)

// TakeBase takes a base into the first vault of the policy that answers, and
// copies it to the others that do. The record that makes it a base is written
// once its stream reaches it. A repeat under the same id returns the first.
func (a *Activities) TakeBase(ctx context.Context, in BaseIn) (BaseOut, error) {
	out, err := a.takeBase(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) takeBase(parent context.Context, in BaseIn) (BaseOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	beat := newBeater(ctx, in.Shard)
	beat.progress("start", 0, 0)
	// Asking servers and vaults, restic opening its repository and PostgreSQL
	// making its checkpoint report no progress; all have time-outs of their own.
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()

	inst, d, err := a.primaries().Primary(ctx, in.Shard)
	if err != nil {
		return BaseOut{}, err
	}

	if inst.DataDir != "" && !in.Here && platform.Placed(a.Host, inst.Host, "") != nil {
		return BaseOut{At: platform.Place{Region: inst.Region, Host: inst.Host}}, nil
	}

	group, err := a.Platform.GroupOf(in.Shard)
	if err != nil {
		return BaseOut{}, err
	}

	set, pol, err := a.set(ctx, group, inst.Region)
	if err != nil {
		return BaseOut{}, err
	}

	if set, err = set.Answering(ctx); err != nil {
		return BaseOut{}, err
	}
	set.Durability = 1 // a base in one vault is one; the caller sees to copies

	home := set.Vaults[0]

	done, err := home.Bases(ctx, in.Shard)
	if err != nil && !fail.Is(err, fail.Corrupt) { // a damaged record is the check's to report
		return BaseOut{}, err
	}

	for _, b := range done {
		if b.ID == in.ID || strings.HasPrefix(b.ID, in.ID+"-r") {
			return baseOut(ctx, set, b), nil
		}
	}

	taken, set := takenBefore(ctx, in.ID, set)

	t := taking{a: a, in: in, inst: inst, d: d, set: set, beat: beat, done: done, full: in.Full || fullDue(done, inst.Region, pol.FullEvery)}
	for try := 1; ; try++ {
		if taken == nil {
			if taken, err = t.take(ctx, try); err != nil {
				return BaseOut{}, err
			}
		}

		beat.stored(taken)

		err := a.reached(ctx, set, taken.Base, beat)
		if err == nil {
			break
		}

		if !errors.Is(err, begun.ErrBehind) || try == baseTries {
			return BaseOut{}, err
		}

		a.Log.WarnContext(ctx, "the base is of no use, another is taken", "base", taken.Base.ID, "err", err)
		taken = nil
		beat.stored(nil)
	}

	beat.progress("record", taken.Base.Bytes, taken.Base.Bytes)
	// The record goes last, to every vault that has the data.
	if _, err := set.SaveBase(ctx, taken.Base); err != nil {
		return BaseOut{}, err
	}

	return baseOut(ctx, set, taken.Base), nil
}

// taking is what an attempt needs to take a base.
type taking struct {
	a    *Activities
	in   BaseIn
	inst targets.Instance
	d    targets.Driver
	set  vault.Set
	beat *beater
	done []targets.Artifact
	full bool
}

// take stores a base's data, once the archiver has begun the log.
func (t *taking) take(ctx context.Context, try int) (*engine.TakenBase, error) {
	if err := t.awaitArchiver(ctx); err != nil {
		return nil, err
	}
	// What an earlier try has left under its id is never overwritten: each has
	// an id of its own.
	id := t.in.ID
	if n := int(activity.GetInfo(ctx).Attempt); n > 1 || try > 1 {
		id += fmt.Sprintf("-r%d", (n-1)*baseTries+try)
	}

	art, err := t.d.Base(ctx, t.inst, targets.BaseRequest{ID: id, Full: t.full, Progress: t.beat.progress}, t.set.Shard(t.in.Shard).ForBase(id))
	if err != nil {
		return nil, err
	}

	if !art.Full {
		art.SinceFull = 1 + t.done[len(t.done)-1].SinceFull // the first of all is full
	}

	return &engine.TakenBase{Base: art, Vault: t.set.Vaults[0].Region()}, nil
}

// awaitArchiver waits, for a while, until the archiver has begun the log that the
// server is on: the bytes between a base and a later beginning are in no vault.
func (t *taking) awaitArchiver(ctx context.Context) error {
	for end := time.Now().Add(archiverWait); time.Now().Before(end); {
		st, err := t.d.Reach(ctx, t.inst)
		if err != nil {
			return err
		}

		_, begun, err := stream.Began(ctx, t.set.Vaults, t.in.Shard, st.Position.Timeline)
		if err != nil || begun {
			return err
		}

		t.beat.progress("wait for the archiver", 0, 0)

		if err := retry.Sleep(ctx, time.Second); err != nil {
			return err
		}
	}

	t.a.Log.WarnContext(ctx, "no archiver has begun the server's log; the base is taken all the same", "instance", t.inst.String())

	return nil
}

// takenBefore is what an earlier attempt had stored when it ended, and the set
// with the vault first that it was stored in; nil when there is none.
func takenBefore(ctx context.Context, id string, set vault.Set) (*engine.TakenBase, vault.Set) {
	var last engine.Beat
	if !activity.HasHeartbeatDetails(ctx) || activity.GetHeartbeatDetails(ctx, &last) != nil {
		return nil, set
	}

	t := last.Taken
	if t == nil || !strings.HasPrefix(t.Base.ID, id) {
		return nil, set
	}

	i := slices.IndexFunc(set.Vaults, func(v *vault.Vault) bool { return v.Region() == t.Vault })
	if i < 0 {
		return nil, set
	}
	set.Vaults = slices.Clone(set.Vaults)
	set.Vaults[0], set.Vaults[i] = set.Vaults[i], set.Vaults[0]

	return t, set
}

// baseOut describes a base that has its record. The first vault that holds it
// is the one that others are to be brought up from.
func baseOut(ctx context.Context, set vault.Set, b targets.Artifact) BaseOut {
	out := BaseOut{Base: b, Away: set.Away}
	held := make([][]targets.Artifact, len(set.Vaults))
	has := func(i int, id string) bool {
		return slices.ContainsFunc(held[i], func(x targets.Artifact) bool { return x.ID == id })
	}

	from := -1
	for i, v := range set.Vaults {
		held[i], _ = v.Bases(ctx, b.Shard) // damage is the check's to report
		if from < 0 && has(i, b.ID) {
			from, out.Vault = i, v.Region()
		}
	}

	for i, v := range set.Vaults {
		if from >= 0 && i != from && slices.ContainsFunc(held[i], func(x targets.Artifact) bool { return !has(from, x.ID) }) {
			out.Missed = append(out.Missed, v.Region())
		}
	}

	return out
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

// reached waits until the stream is stored up to the base's end, in one vault
// at least. It fails at once, with begun.ErrBehind, when the archive of the base's
// log begins behind the base: it will never lead back to it.
func (a *Activities) reached(ctx context.Context, set vault.Set, b targets.Artifact, beat *beater) error {
	wctx, cancel := context.WithTimeout(ctx, baseWait)
	defer cancel()

	beat.progress("stream", 0, 0)

	if err := begun.Before(wctx, set.Vaults, b); err != nil {
		return err
	}

	most := uint64(0)
	missing := func(n uint64) {
		most = max(most, n)
		beat.progress("stream", int64(most-n), int64(most))
	}

	_, err := stream.AwaitDurable(wctx, set, b.Shard, b.From, b.Until, 200*time.Millisecond, missing)
	if err != nil {
		return fail.New(fail.CodeOf(err), "backup: wait for the stream", b.Shard.String(), "the base is stored but its stream does not reach it; is the shard's archiver running? see: drctl status", err)
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
