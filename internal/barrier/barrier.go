package barrier

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Party is one shard that joins the cut.
type Party struct {
	Quiescer targets.Quiescer
	Instance targets.Instance
}

// Options bound a cut. Zero durations and counts take the defaults below.
type Options struct {
	Group string
	Mode  targets.BarrierMode
	// Gate is the PostgreSQL shard that holds the group's gate (mode gate).
	Gate targets.ShardID
	// Lease is how long a server keeps the barrier of a silent coordinator. Default 3 s.
	Lease time.Duration
	// Budget bounds the stall of one attempt. Default 250 ms.
	Budget time.Duration
	// LockTimeout bounds one wait for the table locks. Default 20 ms. In mode
	// share an attempt has one such wait. In mode gate it has as many as fit
	// into its budget; between them the tables' writers get through while the
	// gate stays held. Later attempts wait up to maxPatience times as long.
	LockTimeout time.Duration
	// Attempts is how often the barrier is tried. Default 50.
	Attempts int
	// Patience bounds the waiting for members that refuse to join because of a
	// long transaction or a vacuum. Default 20 s.
	Patience time.Duration
	// LeaveOut takes a cut without the tables that maintenance still holds after
	// half of the patience. In mode gate that is so by itself: the gate alone keeps
	// transactions of several shards whole.
	LeaveOut bool
	// Partial takes a cut of the shards that join, where others do not: because they fail, or stay
	// busy for longer than Patience. The shard that holds the gate cannot be lacking.
	Partial bool
	Tool    string
	Log     *slog.Logger
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	def(&o.Lease, 3*time.Second)
	def(&o.Budget, 250*time.Millisecond)
	def(&o.LockTimeout, 20*time.Millisecond)
	def(&o.Patience, 20*time.Second)

	if o.Attempts <= 0 {
		o.Attempts = 50
	}

	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}

	return o
}

// Take takes one cut over all parties. The cut is not sealed.
//
// Errors name the shard. The code is stalled when every attempt ran over its
// budget, or a member stayed busy for longer than Patience; else it is the first
// member's own. An error that trying again cannot mend ends it at once.
func Take(ctx context.Context, parties []Party, opt Options) (targets.Cut, error) {
	opt = opt.withDefaults()
	if err := check(parties, opt); err != nil {
		return targets.Cut{}, err
	}
	patience, strict := time.Now().Add(opt.Patience), time.Now().Add(opt.Patience/2)
	degrade := opt.LeaveOut || opt.Mode == targets.Gate
	var last error

	b := newBarrier(parties, opt)
	defer func() { b.close() }()

	var without []targets.Absent

	attempts := 0
	for joins := 1; attempts < opt.Attempts; joins++ {
		b.opt.LeaveOut = degrade && time.Now().After(strict)

		if err := b.join(ctx); err != nil {
			if !fail.Is(err, fail.Stalled) || time.Now().After(patience) || ctx.Err() != nil {
				there, lacking := b.rest()
				if ctx.Err() != nil || len(there) == 0 {
					return targets.Cut{}, err
				}

				b.close()
				parties, without = there, append(without, lacking...)
				b = newBarrier(parties, opt)

				continue
			}

			opt.Log.DebugContext(ctx, "barrier: a member is busy", "group", opt.Group, "err", err)

			if err := pause(ctx, 100*time.Millisecond, joins); err != nil {
				return targets.Cut{}, err
			}

			continue
		}
		cut, err := b.try(ctx, &attempts)
		b.close()
		b = newBarrier(parties, opt)

		if err == nil {
			cut.Without = without
			return cut, nil
		}

		last = err
		if ctx.Err() != nil || !fail.Retryable(err) {
			return targets.Cut{}, last // trying again cannot help
		}
	}

	if !fail.Is(last, fail.Stalled) {
		return targets.Cut{}, last // a member is broken, not busy
	}
	last = nameBlocker(ctx, parties, opt, last)

	return targets.Cut{}, fail.New(fail.Stalled, "cut: barrier", opt.Group,
		fmt.Sprintf("gave up after %d attempts and every lock is released; look for long write transactions on the shard named, raise the policy's budget or attempts, or use mode gate", opt.Attempts), last)
}

// nameBlocker joins once more, to learn the name of what a lock time-out did not
// name. By now it is so old that a member refuses to join because of it, and the
// refusal names it.
func nameBlocker(ctx context.Context, parties []Party, opt Options, last error) error {
	opt.Budget /= 2

	b := newBarrier(parties, opt)
	defer b.close()

	err := b.join(ctx)
	if err == nil {
		return last
	}

	if !fail.Is(err, fail.Stalled) {
		return last
	}

	return fmt.Errorf("%w; last attempt: %w", err, last)
}

func check(parties []Party, opt Options) error {
	if len(parties) == 0 {
		return fail.Newf(fail.Invalid, "cut: barrier", opt.Group, "the group has no shards")
	}

	if opt.Mode != targets.Gate && opt.Mode != targets.Share {
		return fail.Newf(fail.Invalid, "cut: barrier", opt.Group, "unknown mode %q", opt.Mode)
	}

	if err := checkLease(opt); err != nil {
		return err
	}

	if opt.Mode == targets.Gate {
		for _, p := range parties {
			if p.Instance.Shard == opt.Gate {
				return nil
			}
		}

		return fail.Newf(fail.Invalid, "cut: barrier", opt.Group, "the gate's shard %s is not in the group", opt.Gate)
	}

	return nil
}

func checkLease(opt Options) error {
	if opt.Lease < opt.Budget {
		return fail.Newf(fail.Invalid, "cut: barrier", opt.Group, "the lease (%s) is shorter than the budget (%s)", opt.Lease, opt.Budget)
	}

	return nil
}

// pause waits a jittered time that grows with n, up to 10 times the unit.
func pause(ctx context.Context, unit time.Duration, n int) error {
	d := time.Duration(float64(unit) * (0.5 + mathrand.Float64()) * float64(min(n, 10)))
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// try makes attempts over one set of connections. It ends with success, when the
// id is used up (spent), when a connection is lost, or when no attempt is left.
func (b *barrier) try(ctx context.Context, attempts *int) (targets.Cut, error) {
	for {
		*attempts++

		cut, spent, err := b.attempt(ctx, *attempts)
		if err == nil {
			err = b.flush(ctx)
		}

		if err == nil {
			b.warn(ctx, &cut)
			return cut, nil
		}

		b.opt.Log.DebugContext(ctx, "barrier: attempt gave up", "group", b.opt.Group, "attempt", *attempts, "err", err)

		if *attempts >= b.opt.Attempts {
			return targets.Cut{}, err
		}

		if perr := pause(ctx, b.opt.LockTimeout, *attempts); perr != nil {
			return targets.Cut{}, perr
		}

		if spent || !fail.Is(err, fail.Stalled) {
			return targets.Cut{}, err
		}
	}
}

// barrier is one set of joined members.
type barrier struct {
	id      string
	opt     Options
	parties []Party
	members []targets.Member
	refused []error // why a party has not joined
	gate    int     // index of the gate's member, -1 without a gate
}

func newBarrier(parties []Party, opt Options) *barrier {
	b := &barrier{id: targets.NewID(time.Now()), opt: opt, parties: parties, members: make([]targets.Member, len(parties)), refused: make([]error, len(parties)), gate: -1}
	for i, p := range parties {
		if opt.Mode == targets.Gate && p.Instance.Shard == opt.Gate {
			b.gate = i
		}
	}

	return b
}

// join lets those join who have not yet. When one is busy the others stay, so that
// its patience costs them no sessions.
func (b *barrier) join(ctx context.Context) error {
	return b.each(func(i int) error {
		if b.members[i] != nil {
			return nil
		}

		m, err := b.parties[i].Quiescer.Join(ctx, b.parties[i].Instance, targets.JoinRequest{
			CutID: b.id, Group: b.opt.Group, Lease: b.opt.Lease, Budget: b.opt.Budget, Gate: i == b.gate, LeaveOut: b.opt.LeaveOut})
		if b.refused[i] = err; err == nil {
			b.members[i] = m
		}

		return err
	})
}

// rest are the parties that have joined, where the policy wants a cut of them, and those that it then
// lacks. None: there is no such cut.
func (b *barrier) rest() (there []Party, lacking []targets.Absent) {
	if !b.opt.Partial || b.gate >= 0 && b.members[b.gate] == nil {
		return nil, nil
	}

	for i, p := range b.parties {
		if b.members[i] != nil {
			there = append(there, p)
		} else {
			lacking = append(lacking, targets.Absent{Shard: p.Instance.Shard, Why: b.refused[i].Error()})
		}
	}

	return there, lacking
}

// each runs f for every party at once. It returns the first error in shard
// order; the end of the context counts only when nothing else failed.
func (b *barrier) each(f func(i int) error) error {
	errs := make([]error, len(b.parties))

	var wg sync.WaitGroup
	for i := range b.parties {
		wg.Go(func() { errs[i] = f(i) })
	}

	wg.Wait()

	return first(errs)
}

func first(errs []error) error {
	var ended error
	for _, err := range errs {
		switch {
		case err == nil:
		case errors.Is(err, context.Canceled):
			ended = err
		default:
			return err
		}
	}

	return ended
}

// attempt tries once. spent says that a position was named under this id, which
// must not be used again.
func (b *barrier) attempt(ctx context.Context, n int) (cut targets.Cut, spent bool, err error) {
	n0 := len(b.parties)
	locked := make([]time.Time, n0)
	lockWait := make([]time.Duration, n0)
	released := make([]time.Time, n0)
	positions := make([]targets.Position, n0)

	start := time.Now()
	// The deadline covers everything that can block a writer. The context ends
	// with it, and a member whose context ends drops its connection.
	actx, cancel := context.WithDeadline(ctx, start.Add(b.opt.Budget))
	defer cancel()
	release := func(barrier *time.Time) error {
		// Letting go must not depend on the caller's patience: the lease is
		// the outer bound.
		rctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.opt.Lease)
		defer cancel()
		*barrier = time.Now()

		return b.each(func(i int) error {
			err := b.members[i].Release(rctx)
			released[i] = time.Now()

			return err
		})
	}
	var letGo time.Time
	abandon := func(cause error) (targets.Cut, bool, error) {
		if rerr := release(&letGo); rerr != nil {
			// The connection is gone and the server ends the lease: not usable again.
			spent = true
		}

		return targets.Cut{}, spent, b.overrun(ctx, actx, cause)
	}

	var gateWait time.Duration
	if b.gate >= 0 {
		// The servers' own time-outs must fire before the context does, because
		// a context that ends costs the connection.
		if err := b.members[b.gate].LockGate(actx, b.opt.Budget*6/10); err != nil {
			return abandon(err)
		}
		gateWait = time.Since(start)
	}

	tries, err := b.lock(actx, n, start.Add(b.opt.Budget*8/10), locked, lockWait)
	if err != nil {
		return abandon(err)
	}
	quiesced := time.Now()
	spent = true

	if err := b.each(func(i int) (err error) {
		positions[i], err = b.members[i].Mark(actx)
		return err
	}); err != nil {
		return abandon(err)
	}

	if time.Since(start) > b.opt.Budget {
		return abandon(fail.Newf(fail.Stalled, "cut: barrier", b.opt.Group, "the attempt took longer than its budget of %s", b.opt.Budget))
	}

	if err := release(&letGo); err != nil {
		// A release that was not answered proves nothing about the locks while
		// the positions were named: the cut does not exist.
		return targets.Cut{}, true, err
	}

	cut = targets.Cut{ID: b.id, Group: b.opt.Group, Mode: b.opt.Mode, QuiescedAt: quiesced.UTC(),
		ReleasedAt: letGo.UTC(), Attempts: n, LockTries: tries, Tool: b.opt.Tool}
	for i, p := range b.parties {
		t := targets.BarrierTimings{Gate: gateWait, Lock: lockWait[i], Hold: released[i].Sub(locked[i]), Total: released[i].Sub(start)}
		cut.Stall = max(cut.Stall, t.Total)
		cut.Shards = append(cut.Shards, targets.ShardPoint{Shard: p.Instance.Shard, Kind: p.Instance.Kind,
			Region: p.Instance.Region, Instance: p.Instance.Address, Position: positions[i], Timings: t})
	}

	return cut, true, nil
}

// maxPatience is how many times LockTimeout a late attempt may wait for the
// tables. Longer transactions than LockTimeout deserve a cut as well.
const maxPatience = 4

// lock stops the writers of every shard's tables, and notes when each was stopped
// and after which wait. While the gate is held it tries again until the given
// time. So a deadlock with a transaction of a single shard costs one short wait,
// not the whole budget.
func (b *barrier) lock(ctx context.Context, attempt int, until time.Time, locked []time.Time, waited []time.Duration) (tries int, err error) {
	wait := b.opt.LockTimeout
	if b.gate >= 0 {
		wait *= time.Duration(min(attempt, maxPatience))
	}

	for tries = 1; ; tries++ {
		begin := time.Now()
		wait = min(wait, max(until.Sub(begin), time.Millisecond))

		err := b.each(func(i int) error {
			err := b.members[i].Lock(ctx, wait)
			locked[i] = time.Now()
			waited[i] = locked[i].Sub(begin)

			return err
		})
		if err == nil || b.gate < 0 || !fail.Is(err, fail.Stalled) || ctx.Err() != nil {
			return tries, err
		}

		if uerr := b.each(func(i int) error { return b.members[i].Unlock(ctx) }); uerr != nil {
			return tries, uerr
		}

		if perr := pause(ctx, b.opt.LockTimeout/4, 1); perr != nil || time.Until(until) < b.opt.LockTimeout/2 {
			return tries, err
		}
	}
}

// overrun tells the end of the budget from the caller's own end.
func (b *barrier) overrun(ctx, attempt context.Context, cause error) error {
	if ctx.Err() == nil && attempt.Err() != nil && !fail.Is(cause, fail.Stalled) {
		return fail.New(fail.Stalled, "cut: barrier", b.opt.Group, "", fmt.Errorf("over the budget of %s: %w", b.opt.Budget, cause))
	}

	return cause
}

// flush makes the marks durable on the servers, each by the session that named
// it. Nobody is stalled meanwhile. Only the same session proves that the server
// did not crash in between: after a crash it comes back without a mark that it
// had not flushed, and writes other bytes in its place.
func (b *barrier) flush(ctx context.Context) error {
	sctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()

	return b.each(func(i int) error { return b.members[i].Settle(sctx) })
}

// warn puts what the members have to say of their positions into the cut.
func (b *barrier) warn(ctx context.Context, cut *targets.Cut) {
	for i, m := range b.members {
		if l, ok := m.(targets.Locker); ok {
			what := l.Locked()
			cut.Shards[i].Locked = &what
		}

		w, ok := m.(targets.Warner)
		if !ok {
			continue
		}

		cut.Shards[i].Warnings = w.Warnings()
		for _, text := range cut.Shards[i].Warnings {
			b.opt.Log.WarnContext(ctx, "cut: "+text, "cut", cut.ID, "shard", cut.Shards[i].Shard.String())
		}
	}
}

func (b *barrier) close() {
	for _, m := range b.members {
		if m != nil {
			m.Close()
		}
	}
}
