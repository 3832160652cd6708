package activities

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/logs"
	"drctl/internal/platform"
	"drctl/internal/retry"
	"drctl/internal/stream"
	"drctl/internal/timeline"
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
	// awayAgain is how often a vault that could not be opened is tried again.
	awayAgain = 15 * time.Second
)

// errBroken ends the following so that the caller can start a base.
var errBroken = errors.New("the log is interrupted")

// errTime ends it when it is time to hand over.
var errTime = errors.New("its time is up")

// FollowShard streams one shard's log into the vaults until its time is up,
// the worker stops, the log cannot go on, or only a new base leads to what is
// archived now: the log was interrupted, or the server has outgrown its bases. A caller that has seen to the base
// says so, and following goes on: a base needs it.
func (a *Activities) FollowShard(ctx context.Context, in FollowIn) (FollowOut, error) {
	out, err := a.follow(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) follow(parent context.Context, in FollowIn) (FollowOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	f := &following{a: a, in: in, failing: failingSince(ctx)}
	// An idle log makes no progress and is not stalled: its liveness is the
	// protocol's own keep-alive, without which the follower returns an error.
	// Nor is a start that lists and joins large vaults: each of their calls has a
	// time-out of its own. So this activity may beat by the clock.
	stop := beatEvery(ctx, 2*time.Second, f.beat)
	defer stop()

	var lost []string
	for {
		out, err := f.run(ctx, parent, lost)

		var l *stream.Lost
		if !errors.As(err, &l) || slices.Contains(lost, l.Key) {
			return out, err
		}
		lost = append(lost, l.Key) // go back to it: the server may still have its bytes
	}
}

// following is one call of FollowShard.
type following struct {
	a  *Activities
	in FollowIn

	// failing is since when attempts before this one could not follow.
	failing time.Time
	now     atomic.Pointer[followed]
}

// followed is what is being followed now.
type followed struct {
	arch *paced
	inst targets.Instance
	away []string
}

func (f *following) beat() engine.Beat {
	now := f.now.Load()
	if now == nil {
		return engine.Beat{Shard: f.in.Shard.String(), Phase: phaseStarting, Failing: f.failing}
	}

	p := now.arch.Progress()
	select {
	case <-now.arch.begun:
	default:
		return engine.Beat{Shard: f.in.Shard.String(), Phase: phaseStarting, Failing: f.failing, Offset: p.Durable, Detail: now.inst.String()}
	}
	b := engine.Beat{Shard: f.in.Shard.String(), Phase: engine.Following, Offset: p.Durable, Done: int64(p.Durable), Total: int64(p.Received), Detail: now.inst.String()}

	var trouble []string
	for _, region := range now.away {
		trouble = append(trouble, "the vault of "+region+" is out of reach")
	}

	for _, v := range p.Vaults {
		if v.Error != "" {
			trouble = append(trouble, "the vault of "+v.Region+" fails: "+v.Error)
		}
	}

	if err := now.arch.hindered.Load(); err != nil && *err != nil {
		trouble = append(trouble, "the server keeps its log: "+(*err).Error())
	}

	b.Trouble = strings.Join(trouble, "; ")
	if len(b.Trouble) > maxText {
		b.Trouble = b.Trouble[:maxText] + " [cut off]"
	}

	return b
}

// run follows until its time is up or something ends it. The chunks of the keys
// in lost are in no vault.
func (f *following) run(ctx, parent context.Context, lost []string) (FollowOut, error) {
	a, in := f.a, f.in

	inst, d, err := a.primaries().Primary(ctx, in.Shard)
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
		ChunkAge: pol.ChunkAge, ChunkSize: pol.ChunkSize, Lost: lost, Log: logs.Of(ctx, a.Log)})
	if err != nil {
		return FollowOut{}, err
	}
	defer arch.Abort()
	defer a.live.Add(in.Shard, arch)()
	to := &paced{Archiver: arch, begun: make(chan struct{}), sooner: make(chan struct{})}
	f.now.Store(&followed{to, inst, set.Away})
	broken := func() (string, []CopyIn) {
		bases := basesOf(ctx, set, in.Shard)

		all := slices.Concat(bases...)
		if b, yes := timeline.NeedsBase(arch.Timelines(), all); yes {
			return b.String(), nil
		}

		if why := outgrown(ctx, d, inst, all); why != "" {
			return why, nil
		}

		return "", lackBases(in.Shard, set, arch.Timelines(), bases)
	}
	out := FollowOut{Group: group}
	out.Break, out.Copies = broken()

	lacking := out.Break != "" || len(out.Copies) > 0
	if lacking && !in.BaseAsked {
		return out, nil
	}

	limit := followingFor(lacking)
	fctx, end := context.WithCancelCause(ctx)
	var watch sync.WaitGroup
	watch.Go(func() {
		if to.wait(fctx, limit) {
			end(errTime)
		}
	})
	watch.Go(func() {
		if a.isBack(fctx, set.Away) {
			close(to.sooner)
		}
	})
	watch.Go(func() {
		for {
			select {
			case <-fctx.Done():
				return
			case <-arch.Interrupted():
				if why, _ := broken(); why != "" {
					end(errBroken)
				}
			}
		}
	})
	watch.Go(func() {
		if out.Break == "" && outgrows(fctx, d, inst, set) {
			end(errBroken)
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
	out.Break, out.Copies = broken()

	return out, errors.Join(err, cerr)
}

// followingFor is how long one activity follows, for a shard that lacks a base or not.
func followingFor(lacking bool) time.Duration {
	if lacking {
		return holeAgain
	}

	return followFor
}

// isBack waits until a vault that could not be opened can be, and reports
// whether that is so.
func (a *Activities) isBack(ctx context.Context, away []string) bool {
	if len(away) == 0 {
		return false
	}

	for {
		if retry.Sleep(ctx, awayAgain) != nil {
			return false
		}

		for _, region := range away {
			if _, err := a.Platform.Vault(ctx, region); err == nil {
				return true
			}
		}
	}
}

// paced tells when an archive's time is up: a limit after its log has begun, or
// sooner, and never while an image is stored, which would begin again from nothing.
type paced struct {
	*stream.Archiver
	once     sync.Once
	begun    chan struct{} // closed when the log has begun to come
	sooner   chan struct{} // closed when there is a reason not to wait for the limit
	image    atomic.Int32
	hindered atomic.Pointer[error]
}

// Streaming is what the log begins with: a timeline is begun before the server
// has agreed to send any of it.
func (p *paced) Streaming() { p.once.Do(func() { close(p.begun) }) }

// Hindered is told with the next beat.
func (p *paced) Hindered(err error) { p.hindered.Store(&err) }

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

	select {
	case <-time.After(limit):
	case <-p.sooner:
	case <-ctx.Done():
		return false
	}

	for {
		if p.image.Load() == 0 {
			return true
		}

		if retry.Sleep(ctx, time.Second) != nil {
			return false
		}
	}
}

// basesOf lists the bases that each of the vaults holds; nil where one did not
// tell. Damage is for others to report.
func basesOf(ctx context.Context, set vault.Set, shard targets.ShardID) [][]targets.Artifact {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // archiving waits for it
	defer cancel()
	found := make([][]targets.Artifact, len(set.Vaults))

	var wg sync.WaitGroup
	for i, v := range set.Vaults {
		wg.Go(func() {
			bases, err := v.Bases(ctx, shard)
			if err == nil || fail.Is(err, fail.Corrupt) {
				found[i] = append([]targets.Artifact{}, bases...)
			}
		})
	}

	wg.Wait()

	return found
}

// lackBases are the copies that give each vault a base that leads to what is
// archived now, where another vault has one: a vault that was away when the log
// began anew has the log, and nothing that leads to it, so no cut is sealed there.
func lackBases(shard targets.ShardID, set vault.Set, timelines []timeline.Timeline, bases [][]targets.Artifact) (out []CopyIn) {
	from := ""

	var lack []string
	for i, own := range bases {
		if own == nil {
			continue
		}

		if _, broken := timeline.NeedsBase(timelines, own); broken || len(own) == 0 {
			lack = append(lack, set.Vaults[i].Region())
		} else if from == "" {
			from = set.Vaults[i].Region()
		}
	}

	if from == "" {
		return nil
	}

	for _, to := range lack {
		out = append(out, CopyIn{Shard: shard, From: from, To: to})
	}

	return out
}

// set opens the vaults of a group's policy, the region's own first.
func (a *Activities) set(ctx context.Context, group, region string) (vault.Set, platform.Policy, error) {
	g, err := a.Platform.Group(group)
	if err != nil {
		return vault.Set{}, platform.Policy{}, err
	}
	s, err := a.Platform.Set(ctx, group, region)

	return s, g.Policy, err
}
