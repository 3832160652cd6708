package epoch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"drctl/internal/fail"
	"drctl/targets"
)

// Bid is a claim to be made.
type Bid struct {
	// Holder is the region that is to write.
	Holder string
	// Run is what it is claimed for: the id of a failover, a switchover.
	Run   string
	Lease time.Duration
	// Planned leaves the holder before time to end in order: its guard goes on until
	// its lease is nearly over.
	Planned bool
	// Number is the epoch's; 0 takes the next. When somebody else has claimed that one, or a
	// later one, it is fail.Conflict.
	Number uint64
	// Claim names the claim; "" draws a name. Who claims one number again by one name goes on
	// with the same claim, also in another process.
	Claim string
	// Behind is the ID of the newest record that who claims has seen: anything newer, or
	// another claim of that number, is fail.Conflict. "" is whatever there is.
	Behind string
	// First may begin the sequence while a voter is away. That one may know of epochs which
	// were claimed with other voters.
	First bool
}

// claiming is a claim under way.
type claiming struct {
	mu    sync.Mutex
	rec   Record            // what is the same in every voter
	over  map[string]Millis // all that was seen in front of it
	held  map[string]uint64
	known []Guard
}

// next makes the claim's record for a voter whose sequence ends with last.
func (c *claiming) next(last Record) Record {
	c.mu.Lock()
	defer c.mu.Unlock()

	switch {
	case last.ID() == c.rec.ID(): // made before, perhaps by another process: what that was behind this one is behind
		mergeOver(c.over, last.Over)
	case last.Epoch > 0:
		mergeOver(c.over, leases(last))
	}
	c.known = mergeGuards(c.known, last.Guards)
	mergeHeld(c.held, last)

	rec := c.rec
	rec.Over, rec.Guards, rec.Held, rec.Nonce, rec.At = map[string]Millis{}, c.known, maps.Clone(c.held), nonce(), time.Now().UTC()
	mergeOver(rec.Over, c.over)

	return rec
}

// leases are those that may run where last is the end of a sequence.
func leases(last Record) map[string]Millis {
	over := map[string]Millis{last.Holder: last.Lease}
	mergeOver(over, last.Over)

	return over
}

// Claim begins the next epoch: once a majority has taken it, no renewal of an
// earlier one counts. It tries until a majority has, or somebody else was first
// (fail.Conflict), or the context ends (fail.Unavailable; the claim may then stand with some voters, and
// the holder before goes on with the others). The tenure is not live before Wait returns.
func (l *Log) Claim(ctx context.Context, b Bid) (*Tenure, error) {
	const op = "epoch: claim"
	if !targets.IsName(b.Holder) || b.Lease < MinLease || b.Lease > MaxLease {
		return nil, fail.New(fail.Invalid, op, l.cfg.Group, fmt.Sprintf("name the region, and a lease between %s and %s", MinLease, MaxLease), nil)
	}

	sets, c, err := l.prepare(ctx, b)
	if err != nil {
		return nil, err
	}

	counted := map[*tail]before{} // what stands in front of the claim, by voter
	for {
		done := maps.Clone(counted)
		has := func(a answer) bool { _, ok := done[a.tail]; return ok || a.err == nil }
		might := func(a answer) bool { return has(a) || !fail.Is(a.err, fail.Conflict) }

		answers := l.ask(ctx, b.Lease, func(ctx context.Context, t *tail) (before, error) {
			if was, ok := done[t]; ok {
				return was, nil
			}

			return t.append(ctx, c.next)
		}, func(got []answer) bool { return l.quorum(sets, has, got) })

		for _, a := range answers {
			if _, ok := counted[a.tail]; !ok && a.err == nil {
				counted[a.tail] = a.before
				sets = withSet(sets, a.before.last.Voters)
			}
		}

		switch {
		case l.quorum(sets, has, answers):
			return l.tenure(c, counted), nil
		case !l.quorum(sets, might, answers):
			return nil, l.beaten(op, answers)
		}

		if err := l.cfg.Clock.sleepUntil(ctx, l.cfg.Clock()+b.Lease/20); err != nil {
			return nil, l.short(op, answers)
		}
	}
}

// prepare finds out the next epoch, and whose majorities its claim needs.
func (l *Log) prepare(ctx context.Context, b Bid) (sets [][]string, c *claiming, err error) {
	st, err := l.Read(ctx)
	if err != nil {
		return nil, nil, err
	}
	sets = [][]string{l.names}

	highest := uint64(0)
	for _, v := range st.Voters {
		if v.Err != nil && st.Present.Epoch == 0 && !b.First {
			return nil, nil, fail.New(fail.Unavailable, "epoch: claim", l.cfg.Group, "the first claim of a group needs every vault and the witness", v.Err)
		}
		highest = max(highest, v.Last.Epoch)
		sets = withSet(sets, v.Last.Voters)

		if b.Number > 0 && !admits(v.Last, Record{Epoch: b.Number, Claim: b.Claim, behind: b.Behind}) {
			return nil, nil, fail.New(fail.Conflict, "epoch: claim", l.cfg.Group, "look at what the other one does before anything else", errAhead{v.Last})
		}
	}

	number, name := highest+1, b.Claim
	if b.Number > 0 {
		number = b.Number
	}

	if name == "" {
		name = nonce()
	}

	return sets, &claiming{over: map[string]Millis{}, held: map[string]uint64{}, rec: Record{
		V: 1, Group: l.cfg.Group, Kind: AClaim, Epoch: number, Claim: name, Holder: b.Holder, By: l.cfg.By, Run: b.Run,
		Lease: Millis(b.Lease), Planned: b.Planned, Voters: l.names, behind: b.Behind,
	}}, nil
}

func withSet(sets [][]string, set []string) [][]string {
	if len(set) == 0 || slices.ContainsFunc(sets, func(s []string) bool { return slices.Equal(s, set) }) {
		return sets
	}

	return append(sets, set)
}

// beaten is the error of who was not first.
func (l *Log) beaten(op string, answers []answer) error {
	var a errAhead
	for _, x := range answers {
		var e errAhead
		if errors.As(x.err, &e) && e.last.Epoch >= a.last.Epoch {
			a = e
		}
	}

	return fail.New(fail.Conflict, op, l.cfg.Group, "look at what the other one does before anything else", a)
}

// Ahead is the record that an error of code conflict is about.
func Ahead(err error) (Record, bool) {
	var e errAhead
	ok := errors.As(err, &e)

	return e.last, ok
}

// tenure computes what a claim that has won must wait for. A lease of an earlier
// epoch that counts has a voter in common with the claim and stands in front of
// it there; it began before that was seen.
func (l *Log) tenure(c *claiming, counted map[*tail]before) *Tenure {
	c.mu.Lock()
	defer c.mu.Unlock()

	// Where a majority was still in one epoch, no claim between that one and
	// this has won or ever will. In front of a claim whose answer was lost stands the
	// claim itself, which has in it what it was behind.
	same := map[string][]answer{}
	for t, b := range counted {
		id := b.last.ID()
		if id == c.rec.ID() {
			id = t.name
		}
		same[id] = append(same[id], answer{tail: t, before: b})
	}

	var all []answer
	for _, as := range same {
		if l.quorum([][]string{l.names}, won, as) {
			all = as
			break
		}
		all = append(all, as...)
	}

	t := &Tenure{log: l, rec: c.rec, over: map[string]Millis{}, known: c.known, held: maps.Clone(c.held), counting: true}
	for _, a := range all {
		if a.before.last.Epoch == 0 {
			continue
		}
		over := leases(a.before.last)

		if l.omit.over {
			over = map[string]Millis{a.before.last.Holder: a.before.last.Lease}
		}

		mergeOver(t.over, over)
		t.since = max(t.since, a.before.seen)
	}

	return t
}
