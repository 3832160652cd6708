package epoch

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
)

// Tenure is this process's part in one epoch: it may act for the epoch's holder
// while it is live. It is safe for concurrent use.
type Tenure struct {
	log *Log
	rec Record // what is the same in all its records

	mu       sync.Mutex
	until    time.Duration     // of the lease, by the log's clock
	over     map[string]Millis // leases of earlier epochs
	since    time.Duration     // they began before this, once counting
	counting bool
	held     map[string]uint64
	known    []Guard
	guard    Guard
}

// Join takes part in the present epoch, which must be the holder's: as the guard
// of that name, or without one. It is fail.Conflict when the epoch is another's;
// Ahead tells whose. While somebody else's lease may still run, the tenure is not live.
func (l *Log) Join(ctx context.Context, holder, guard string) (*Tenure, error) {
	const op = "epoch: join"

	st, err := l.Read(ctx)
	if err != nil {
		return nil, err
	}

	p := st.Present
	switch {
	case p.Epoch == 0 && st.Ahead.Epoch == 0:
		return nil, fail.New(fail.NotFound, op, l.cfg.Group, "", errors.New("nobody has claimed it yet"))
	case p.Epoch == 0:
		return nil, fail.New(fail.Unavailable, op, l.cfg.Group, "", errors.New("a claim is being made, and no majority is in one epoch"))
	case p.Holder != holder:
		return nil, fail.New(fail.Conflict, op, l.cfg.Group, "", errAhead{p})
	case !slices.Equal(p.Voters, l.names):
		return nil, fail.New(fail.Invalid, op, l.cfg.Group, "give every process the same vaults and witness; who changes them makes a claim with the new ones",
			errors.New("the epoch was claimed with other voters"))
	}

	t := &Tenure{log: l, rec: p, over: map[string]Millis{}, known: st.Guards, held: st.Held}
	mergeOver(t.over, p.Over)
	t.rec.By, t.rec.Kind = l.cfg.By, ARenewal

	if guard != "" {
		// What the name stood for before it does not stand for any more: see Cover.
		t.guard = Guard{Name: guard, Holder: holder, Turn: 1, Epoch: p.Epoch}
		for _, g := range st.Guards {
			if g.Name == guard {
				t.guard.Turn = g.Turn + 1
			}
		}
	}

	return t, t.Renew(ctx)
}

// Renew asks for another lease, counted from now. fail.Conflict when a majority
// has, or may have, taken another claim: no lease will be had in this epoch any more.
// fail.Unavailable when too few voters answer before the context ends.
func (t *Tenure) Renew(ctx context.Context) error {
	const op = "epoch: renew"
	l := t.log
	began := l.cfg.Clock()
	sets := [][]string{t.rec.Voters}
	lease := time.Duration(t.rec.Lease)

	answers := l.ask(ctx, lease/3, func(ctx context.Context, v *tail) (before, error) { return v.append(ctx, t.next) },
		func(got []answer) bool { return l.quorum(sets, won, got) })

	switch {
	case l.quorum(sets, won, answers):
	case !l.quorum(sets, func(a answer) bool { return !fail.Is(a.err, fail.Conflict) }, answers):
		return l.beaten(op, answers)
	default:
		return l.short(op, answers)
	}

	t.mu.Lock()
	defer t.mu.Unlock()

	if l.omit.before {
		began = l.cfg.Clock()
	}
	t.until = max(t.until, began+lease)

	if !t.counting { // what others waited for when they wrote the epoch's records is over; the rest counts from here
		t.since, t.counting = l.cfg.Clock(), true
	}

	return nil
}

// next makes a renewal.
func (t *Tenure) next(last Record) Record {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.known = mergeGuards(t.known, last.Guards)
	mergeHeld(t.held, last)

	if last.ID() == t.rec.ID() && last.Settled() { // who wrote that has waited
		maps.DeleteFunc(t.over, func(h string, _ Millis) bool { return h != t.rec.Holder })
	}

	rec := t.rec
	rec.Kind, rec.Nonce, rec.At = ARenewal, nonce(), time.Now().UTC()
	rec.Over = t.running()
	rec.Guards, rec.Held = t.known, maps.Clone(t.held)

	if t.guard.Name != "" {
		rec.Guards = mergeGuards(t.known, []Guard{t.guard})
	}

	return rec
}

// running are the leases of earlier epochs that may not be over. t.mu is held.
func (t *Tenure) running() map[string]Millis {
	now, over := t.log.cfg.Clock(), map[string]Millis{}
	for h, d := range t.over {
		wait := withMargin(time.Duration(d))
		if t.log.omit.margin {
			wait = time.Duration(d)
		}

		if t.log.omit.wait {
			wait = 0
		}

		if !t.counting || now < t.since+wait {
			over[h] = d
		}
	}

	return over
}

// Live reports whether the holder may act now, by this process.
func (t *Tenure) Live() bool { return t.Left() > 0 }

// Left is how long the holder may act from now, without another renewal; 0 when it
// may not.
func (t *Tenure) Left() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()

	for h := range t.running() {
		if h != t.rec.Holder {
			return 0
		}
	}

	return max(0, t.until-t.log.cfg.Clock())
}

// Own is how long the lease of this process's own renewals lasts, whoever else's may still
// run; 0 when it is over. In a planned epoch who has claimed ends the holder before in
// order: there it is what a guard goes by.
func (t *Tenure) Own() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()

	return max(0, t.until-t.log.cfg.Clock())
}

// Until is when the lease ends, by the log's clock.
func (t *Tenure) Until() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.until
}

// Wait renews until nobody else's lease can run, and the voters know that. It
// returns with the tenure live: whoever held the group before is silent if
// it ends to write with its lease. The error is that of Renew when the epoch is
// lost, or of the context.
func (t *Tenure) Wait(ctx context.Context) error {
	for {
		err := t.Renew(ctx)
		if fail.Is(err, fail.Conflict) || err == nil && t.Live() && t.said() {
			return err
		}

		if e := t.log.cfg.Clock.sleepUntil(ctx, t.nextStep()); e != nil {
			return fail.From(fail.Stalled, "epoch: wait", t.log.cfg.Group, errors.Join(e, err))
		}
	}
}

// said reports whether a renewal was begun after the others' leases were over.
func (t *Tenure) said() bool {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.until-time.Duration(t.rec.Lease) >= t.end()
}

// end is when the leases of others are over. t.mu is held.
func (t *Tenure) end() time.Duration {
	var end time.Duration
	for h, d := range t.over {
		if h != t.rec.Holder {
			end = max(end, t.since+withMargin(time.Duration(d)))
		}
	}

	return end
}

// nextStep is when Wait renews again: after a third of the lease, or when the
// leases of others are over.
func (t *Tenure) nextStep() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()

	now := t.log.cfg.Clock()
	at := now + time.Duration(t.rec.Lease)/3

	if end := t.end(); end > now {
		return min(at, end)
	}

	if t.until < now { // it failed
		return now + time.Duration(t.rec.Lease)/20
	}

	return min(at, now+time.Duration(t.rec.Lease)/20)
}

// Silent is when the last lease of another holder was over, by the log's clock,
// and how long it was; the zero value before the claim.
func (t *Tenure) Silent() (at time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.end()
}

// Guards are all guards that were heard of: of those of an earlier holder, the
// servers that ended to write with its lease.
func (t *Tenure) Guards() []Guard {
	t.mu.Lock()
	defer t.mu.Unlock()

	return slices.Clone(t.known)
}

// Bound are the guards that have answered for servers of a region in the epoch in front of
// this claim: once its leases are over none of these servers takes writes. None where that
// was another region's, as far as anybody knows, even by a claim that did not win: what
// has become of the servers since then nobody has watched.
func (t *Tenure) Bound(region string) (out []Guard) {
	t.mu.Lock()
	defer t.mu.Unlock()

	for h, n := range t.held {
		if own := h == t.rec.Holder && n == t.rec.Epoch; n > t.held[region] && !own {
			return nil
		}
	}

	for _, g := range t.known {
		if g.Holder == region && g.Epoch > 0 && g.Epoch == t.held[region] && len(g.Instances) > 0 {
			out = append(out, g)
		}
	}

	return out
}

// Longest is the longest lease of a region that this claim had to wait for.
func (t *Tenure) Longest(region string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()

	return time.Duration(t.over[region])
}

// Waited is how long ago the last record in front of the claim was first known.
func (t *Tenure) Waited() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()

	return t.log.cfg.Clock() - t.since
}

// Cover says from the next renewal on which servers this guard answers for. Who
// calls it must already be sure to silence them when the lease ends; who takes one
// back must have it said by a majority (Renew) before it lets go of the server.
func (t *Tenure) Cover(instances []string) {
	t.mu.Lock()
	defer t.mu.Unlock()

	t.guard.Turn++
	t.guard.Instances = slices.Sorted(slices.Values(instances))
	t.guard.Epoch = t.rec.Epoch
}

// Epoch is the record that all records of this tenure are like.
func (t *Tenure) Epoch() Record { return t.rec }
