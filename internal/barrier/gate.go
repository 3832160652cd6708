package barrier

import (
	"context"
	"fmt"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Held is a time in which a gate was surely held by nobody else.
type Held struct {
	// From is after the gate was granted, To before it was let go. Both have
	// readings of the monotonic clock.
	From, To time.Time
	Tries    int
	// Stall is the longest time that one try can have held up a writer, by
	// waiting for the gate or by holding it.
	Stall time.Duration
	// Use is who else used the gate just before; nil where that cannot be seen.
	Use *targets.GateUse
}

// HoldGate holds the group's gate while it runs during, which is run once at
// most. Nothing else is locked.
//
// A wait for the gate holds up those who come after it. So each is short, takes
// nothing with it when it ends, and is followed by a pause that is longer; and nobody is
// waited for who has held the gate for longer than the budget. Options are those of
// a cut: Attempts and Patience bound the tries, Budget one try with the holding,
// LockTimeout the first wait (later ones last up to four times as long).
//
// The time is returned only if the gate was held to its end: the transaction that
// holds it answers after it. Errors: stalled when the gate was not granted, or when
// during took longer than the budget or the lease; its own error; else the member's.
func HoldGate(ctx context.Context, gate Party, opt Options, during func(ctx context.Context) error) (Held, error) {
	opt = opt.withDefaults()
	if err := checkLease(opt); err != nil {
		return Held{}, err
	}

	h := holding{opt: opt, party: gate, until: time.Now().Add(opt.Patience)}
	defer h.close()

	if err := h.take(ctx); err != nil {
		return Held{}, err
	}

	return h.run(ctx, during)
}

// holding is one session that takes the gate.
type holding struct {
	opt    Options
	party  Party
	until  time.Time // no try begins later
	member targets.Member
	began  time.Time // the try that was granted
	held   Held
}

// take tries until the gate is granted.
func (h *holding) take(ctx context.Context) error {
	for {
		h.held.Tries++

		err := h.try(ctx)
		if err == nil {
			return nil
		}

		h.opt.Log.DebugContext(ctx, "gate: not granted", "group", h.opt.Group, "attempt", h.held.Tries, "err", err)

		if !fail.Is(err, fail.Stalled) || h.held.Tries >= h.opt.Attempts || time.Now().After(h.until) || ctx.Err() != nil {
			return err
		}

		if err := pause(ctx, h.wait(), h.held.Tries); err != nil {
			return err
		}
	}
}

// wait is how long this try waits for the gate.
func (h *holding) wait() time.Duration {
	return min(h.opt.LockTimeout*time.Duration(min(h.held.Tries, maxPatience)), h.opt.Budget*6/10)
}

// try joins if there is no session, and asks for the gate once. A session that
// cannot be used again is dropped.
func (h *holding) try(ctx context.Context) (err error) {
	if h.member == nil {
		h.member, err = h.party.Quiescer.Join(ctx, h.party.Instance, targets.JoinRequest{CutID: targets.NewID(time.Now()), Group: h.opt.Group,
			Lease: h.opt.Lease, Budget: h.opt.Budget, Gate: true, GateOnly: true})
		if err != nil {
			h.member = nil
			return err
		}
	}

	h.look(ctx)

	h.began = time.Now()
	// The server's own time-out fires first: see attempt.
	actx, cancel := context.WithTimeout(ctx, h.opt.Budget)
	defer cancel()

	if err = h.member.LockGate(actx, h.wait()); err == nil {
		return nil
	}
	h.held.Stall = max(h.held.Stall, time.Since(h.began))

	if rerr := h.letGo(ctx); rerr != nil {
		h.close()
	}

	return err
}

// look notes who uses the gate. Nothing depends on it: a session that broke is found by
// the next statement.
func (h *holding) look(ctx context.Context) {
	w, ok := h.member.(targets.GateWatcher)
	if !ok {
		return
	}

	ctx, cancel := context.WithTimeout(ctx, h.opt.Budget)
	defer cancel()

	use, err := w.GateUse(ctx)
	if err != nil {
		return
	}

	if h.held.Use != nil { // of the tries before
		use.Holders = max(use.Holders, h.held.Use.Holders)
	}
	h.held.Use = &use
}

// run does the work while the gate is held, lets go and proves it.
func (h *holding) run(ctx context.Context, during func(ctx context.Context) error) (Held, error) {
	h.held.From = time.Now()

	dctx, cancel := context.WithDeadline(ctx, h.began.Add(h.opt.Budget))
	err := during(dctx)

	cancel()

	h.held.To = time.Now()
	rerr := h.letGo(ctx)
	total := time.Since(h.began)
	h.held.Stall = max(h.held.Stall, total)

	switch {
	case ctx.Err() == nil && h.held.To.Sub(h.began) > h.opt.Budget:
		return Held{}, fail.New(fail.Stalled, "gate: hold", h.opt.Group, "raise the policy's budget", fmt.Errorf("the gate was held for longer than the budget of %s: %w", h.opt.Budget, errorOr(err, rerr)))
	case err != nil:
		return Held{}, err
	case rerr != nil:
		// A release that was not answered proves nothing about the gate before.
		return Held{}, rerr
	}

	return h.held, nil
}

func errorOr(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}

	return context.DeadlineExceeded
}

// letGo must not depend on the caller's patience: the lease is the outer bound.
func (h *holding) letGo(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), h.opt.Lease)
	defer cancel()

	return h.member.Release(ctx)
}

func (h *holding) close() {
	if h.member != nil {
		h.member.Close()
		h.member = nil
	}
}
