package cutting

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"drctl/internal/barrier"
	"drctl/internal/fail"
	"drctl/internal/moment"
	"drctl/internal/proof"
	"drctl/internal/retry"
	"drctl/internal/stream"
	"drctl/internal/vault"
	"drctl/internal/watch"
	"drctl/targets"
)

const (
	// gateFor is how long the gate is held where no Redis masters are paused meanwhile: some
	// rounds of questions.
	gateFor = 12 * time.Millisecond
	// archiveWithin is how long the log of a burst may take to be archived, besides
	// the age at which chunks are closed. What is not there then is looked for by
	// the next round.
	archiveWithin = 5 * time.Second
	// burstFor is how long the servers are first looked at closely for a cut; each time in vain
	// twice as long, and at most longestBurst: what is half done for a while is waited out by
	// looking, and not between two looks.
	burstFor, longestBurst = 100 * time.Millisecond, 800 * time.Millisecond
	// poll is how often the vault is asked whether the log is there, and sentWithin how long
	// the archivers are asked before it is.
	poll       = 50 * time.Millisecond
	sentWithin = 500 * time.Millisecond
	// pauseFor is how long Redis masters are first paused; each time in vain twice as long, and at
	// most longestPause. What does not pause them costs nobody anything, so that is tried before.
	// After so many looks they are, whatever is known.
	patient                = 3
	pauseFor, longestPause = 5 * time.Millisecond, 20 * time.Millisecond
)

// reading is a cut that is looked for in the logs.
type reading struct {
	c       *Cutter
	a       Ask
	members []member
	finder  *moment.Finder
	vault   *vault.Vault

	gated  bool          // the gate is held
	paused bool          // Redis masters are paused
	hold   time.Duration // for how long the last time
	sent   <-chan struct{}
	holds  []proof.Hold
	stall  time.Duration // of writers, at most
	use    *targets.GateUse
	first  proof.Span // of all bursts so far
	tries  int
	took   struct{ burst, archive, find time.Duration } // of all tries
}

// read looks for an instant in burst after burst, until there is one of the best
// grade, or the time is up.
func (c *Cutter) read(ctx context.Context, a Ask, members []member) (targets.Cut, error) {
	if a.Observer == nil {
		return targets.Cut{}, fail.New(fail.Unavailable, opCut, a.Group.Name, "start the observer with: drctl apply; see drctl status", errNobody)
	}

	mode := a.Group.Policy.Mode
	r := &reading{c: c, a: a, members: members, vault: a.Set.Vaults[0]}
	r.finder = c.finder(a, r.vault)
	r.paused = a.Group.Pauses() && c.pauses(a.Group.Name)
	r.gated = mode.Has(targets.ModeGate) || mode.Has(targets.ModeAuto) && a.Group.Gate != "" && !c.showsWhole(a.Group.Name, nil)

	var (
		best *moment.Found
		why  error
	)

	for until := time.Now().Add(a.Group.Policy.Look); ; {
		found, err := r.once(ctx)
		r.stillness(found, err)

		switch {
		case err == nil && (found.Proof.Grade == proof.Proven || !r.better(found)):
			return r.keep(ctx, found)
		case err == nil:
			best = found
		case ctx.Err() != nil, !fail.Is(err, fail.NotFound) && !fail.Is(err, fail.Stalled):
			return targets.Cut{}, err
		default:
			why = err
			r.a.Log.DebugContext(ctx, "cut: no instant yet", "group", a.Group.Name, "attempt", r.tries, "err", err)
		}

		if time.Now().After(until) {
			break
		}
	}

	if best != nil {
		return r.keep(ctx, best)
	}

	return targets.Cut{}, fail.New(fail.Stalled, opCut, a.Group.Name, "", why)
}

// once makes one burst and searches all of them so far.
func (r *reading) once(ctx context.Context) (*moment.Found, error) {
	r.tries++
	lap := stopwatch()

	burst, err := r.burst(ctx)
	r.took.burst += lap()

	if err != nil {
		return nil, err
	}

	for _, m := range burst.Missing {
		if !slices.ContainsFunc(r.members, func(x member) bool { return x.inst.Shard == m.Shard }) {
			continue // the cut lacks it
		}

		return nil, fail.New(fail.Stalled, opCut, m.Shard.String(), "see whether its server answers, and drctl status",
			fmt.Errorf("it was not observed for the cut, not since %s: %s", m.Since.Format(time.TimeOnly), m.Err))
	}

	if burst.PauseErr != nil { // there may be an instant at which they stand still by themselves
		r.a.Log.DebugContext(ctx, "cut: not all Redis masters could be paused", "group", r.a.Group.Name, "err", burst.PauseErr)
	}

	r.saw(burst.Span)
	lap()

	err = r.archived(ctx, burst)
	r.took.archive += lap()

	if err != nil {
		return nil, err
	}

	found, err := r.finder.Find(ctx, moment.Request{Group: r.a.Group.Name, Shards: r.shards(), Policy: r.policy(), Holds: r.holds,
		Wish: moment.Wish{Observer: burst.Observer, Span: r.first}})
	r.took.find += lap()

	if err != nil {
		return nil, err
	}

	whole := slices.ContainsFunc(found.Modes(), func(m targets.Mode) bool { return m == targets.ModeTagged || m == targets.ModeTwoPhase })
	if r.c.showsWhole(r.a.Group.Name, &whole) {
		r.gated = r.a.Group.Policy.Mode.Has(targets.ModeGate)
	}

	return found, nil
}

// saw makes a burst a part of the time that is searched. It begins with the first burst that saw all
// shards, whichever look that was: a cut is never of an instant before it was asked for.
func (r *reading) saw(burst proof.Span) {
	if r.first == (proof.Span{}) {
		r.first = burst
	}
	r.first.To = burst.To
}

// stillness sees to it that Redis masters are paused at the next look, if one of them was in the way, or
// several looks were in vain: what was in the way is not always told of all that were.
func (r *reading) stillness(found *moment.Found, err error) {
	if r.paused || !r.a.Group.Pauses() {
		return
	}

	why := moment.Obstacles(err)
	if found != nil {
		why = found.Obstacles
	}

	r.paused = slices.ContainsFunc(why, func(o moment.Obstacle) bool {
		return o.Why == proof.NoCommonPause || o.Why == proof.MarkerOutside || slices.ContainsFunc(r.members, func(m member) bool {
			return m.inst.Shard == o.Shard && m.inst.Kind == targets.Redis
		})
	})

	if r.paused {
		r.c.inTheWay(r.a.Group.Name)
	}

	r.paused = r.paused || r.tries >= patient
}

// better reports whether there may be a better instant than the one that was found:
// not where the platform does not say what belongs together, and has no gate.
func (r *reading) better(found *moment.Found) bool {
	return slices.ContainsFunc(found.Obstacles, func(o moment.Obstacle) bool {
		return o.Grade == targets.Proven && o.Why != proof.NothingDeclared
	})
}

// burst asks all servers again and again for a moment, with the gate held meanwhile
// if the mode wants that.
func (r *reading) burst(ctx context.Context) (watch.Burst, error) {
	opt := watch.BurstOptions{Pause: r.paused, Placed: r.flush}
	if r.paused {
		r.hold = min(max(2*r.hold, pauseFor), longestPause)
		opt.PauseFor = r.hold
	}

	if !r.gated {
		opt.For = min(burstFor<<min(r.tries-1, 5), longestBurst)
		burst, err := r.a.Observer.Burst(ctx, opt)
		r.stall = max(r.stall, burst.Stall)

		return burst, err
	}

	gate, err := r.a.gate(r.members)
	if err != nil {
		return watch.Burst{}, err
	}

	// All that is looked at, is while the gate is held: the instant is within, and so is the pause of
	// the writers of Redis.
	var held barrier.Held

	opt.For = gateFor
	opt.During = func(ctx context.Context, look func(context.Context) error) (err error) {
		held, err = barrier.HoldGate(ctx, gate, r.a.options(targets.Gate, gate.Instance.Shard), look)
		return err
	}

	burst, err := r.a.Observer.Burst(ctx, opt)
	r.stall = max(r.stall, burst.Stall)

	if err != nil {
		return burst, err
	}

	r.holds = append(r.holds, proof.Hold{By: proof.ByGate, Span: proof.Span{From: r.a.Observer.At(held.From), To: r.a.Observer.At(held.To)}})
	r.stall = max(r.stall, held.Stall)
	r.use = held.Use

	return burst, nil
}

// flush asks the archivers for the logs up to there.
func (r *reading) flush(places []watch.Place) {
	to := make(map[targets.ShardID]targets.Position, len(places))
	for _, p := range places {
		to[p.Shard] = p.Position
	}

	r.sent = r.a.Flush(to)
}

// archived waits until the vault has the logs of the burst. What it lacks after a while the
// search says.
func (r *reading) archived(parent context.Context, burst watch.Burst) error {
	ctx, cancel := context.WithTimeout(parent, r.a.Group.Policy.ChunkAge+archiveWithin)
	defer cancel()

	// The archivers know when it is there. Then the vault is asked, and not again and again before.
	timer := time.NewTimer(sentWithin)
	defer timer.Stop()

	select {
	case <-r.sent:
	case <-timer.C:
	case <-ctx.Done():
	}

	one := vault.Set{Vaults: []*vault.Vault{r.vault}, Durability: 1}
	errs := make([]error, len(burst.Places))
	done := make(chan int)

	for i, p := range burst.Places {
		go func() {
			before := p.Position
			before.Offset--

			_, errs[i] = stream.AwaitDurable(ctx, one, p.Shard, before, p.Position, poll, nil)
			done <- i
		}()
	}

	for range burst.Places {
		<-done
	}

	if parent.Err() != nil {
		return parent.Err()
	}

	for _, err := range errs {
		if err != nil && !fail.Is(err, fail.Stalled) {
			return err
		}
	}

	return errors.Join(errs...)
}

// shards are those of the cut.
func (r *reading) shards() (out []moment.Shard) {
	for _, m := range r.members {
		out = append(out, moment.Shard{ID: m.inst.Shard, Kind: m.inst.Kind, Region: m.inst.Region, Instance: m.inst.Address})
	}

	return out
}

// policy is what a moment has to be.
func (r *reading) policy() moment.Policy { return PolicyOf(r.a.Group.Policy) }

// keep stores the evidence, and makes the cut.
func (r *reading) keep(ctx context.Context, found *moment.Found) (targets.Cut, error) {
	cut, evidence, err := found.Cut(targets.NewID(time.Now()), r.a.tool())
	if err != nil {
		return targets.Cut{}, err
	}

	cut.Attempts, cut.Stall, cut.Gate = r.tries, r.stall, r.c.gateUse(cut.Group, r.use)
	for _, o := range found.Obstacles {
		if found.Proof.Grade != proof.Proven {
			cut.Why = append(cut.Why, o.Text())
		}
	}

	// A vault that is slow for a moment must not cost the cut.
	store := func() error {
		_, err := r.a.Set.PutEncrypted(ctx, vault.EvidenceKey(cut.Group, cut.ID), nil, evidence)
		return err
	}

	lap := stopwatch()
	err = retry.Do(ctx, retry.Policy{First: 100 * time.Millisecond, For: archiveWithin, If: fail.Retryable}, store)

	r.a.Log.DebugContext(ctx, "cut: read out of the logs", "group", cut.Group, "cut", cut.ID, "attempt", r.tries, "since", time.Since(cut.QuiescedAt),
		"burst", r.took.burst, "archive", r.took.archive, "find", r.took.find, "store", lap())

	return cut, err
}

// stopwatch returns what tells the time since it was asked last.
func stopwatch() func() time.Duration {
	last := time.Now()

	return func() time.Duration {
		now := time.Now()
		d := now.Sub(last)
		last = now

		return d
	}
}
