package board

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/internal/detection"
	"drctl/internal/fail"
)

// The orders of people.
const (
	// Off: no failover of the group begins by itself, until On.
	Off = "off"
	On  = "on"
	// Acknowledge: somebody has it in hand; nothing begins by itself until then.
	Acknowledge = "acknowledge"
)

// Order is what a person has ordered.
type Order struct {
	Do     string    `json:"do"`
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	At     time.Time `json:"at"`
	// Until is when an acknowledgement ends.
	Until time.Time `json:"until,omitzero"`
	// Was is what was in force before: each record tells all.
	Was Standing `json:"was"`
}

// Standing is what is in force.
type Standing struct {
	Off          *Order `json:"off,omitempty"`
	Acknowledged *Order `json:"acknowledged,omitempty"`
	// On is the newest of its kind: it has ended what is older.
	On *Order `json:"on,omitempty"`
}

// after is what is in force after an order.
func (o Order) after() Standing {
	var s Standing

	was := o.Was
	o.Was = Standing{}

	switch o.Do {
	case Off:
		s.Off = &o
	case On:
		s.On = &o
	case Acknowledge:
		s.Acknowledged = &o
	}

	return was.and(s)
}

// and is what two say together, in any order: of each kind the newest.
func (s Standing) and(o Standing) Standing {
	s.Off, s.Acknowledged, s.On = newer(s.Off, o.Off), newer(s.Acknowledged, o.Acknowledged), newer(s.On, o.On)

	for _, x := range []**Order{&s.Off, &s.Acknowledged} {
		if *x != nil && s.On != nil && !(*x).At.After(s.On.At) {
			*x = nil
		}
	}

	return s
}

// at is when the newest of all was given.
func (s Standing) at() (at time.Time) {
	if o := newer(newer(s.Off, s.Acknowledged), s.On); o != nil {
		at = o.At
	}

	return at
}

func newer(a, b *Order) *Order {
	if a == nil || b != nil && b.At.After(a.At) {
		return b
	}

	return a
}

// Words say who has ordered it and why; "" is nobody.
func (o *Order) Words() string {
	if o == nil {
		return ""
	}
	text := fmt.Sprintf("by %s at %s: %s", o.By, o.At.UTC().Format(time.RFC3339), o.Reason)

	if !o.Until.IsZero() {
		text += ", until " + o.Until.UTC().Format(time.RFC3339)
	}

	return text
}

// Order has a majority of the voters take an order. It is an error when no majority does:
// then nobody knows whether it is in force. Of two that are given at one time none is lost.
func (b *Board) Order(ctx context.Context, o Order) error {
	was, err := b.Standing(ctx)
	if err != nil {
		return err
	}

	if at := was.at(); !o.At.After(at) { // by a clock that is behind: the last word counts all the same
		o.At = at.Add(time.Millisecond)
	}

	n, err := b.append(ctx, orders, func(last []byte) (any, error) {
		l, err := b.order(last)
		x := o
		x.Was = was.and(l.after())

		return x, err
	})
	if !b.Majority(n) {
		return fail.New(fail.Unavailable, op, o.Do, "see that a majority of vaults and witness can be written from here, and say it again", errors.Join(fmt.Errorf("%d of %d voters have taken it", n, len(b.voters)), err))
	}

	return nil
}

// order reads a record; of nil it is none.
func (b *Board) order(body []byte) (o Order, err error) {
	if len(body) == 0 {
		return o, nil
	}

	if err := json.Unmarshal(body, &o); err != nil {
		return o, fail.New(fail.Corrupt, op, b.group, "find out who can write to this store besides drctl", err)
	}

	return o, nil
}

// Standing is what is in force, as a majority of the voters tells it: all that any of them knows.
func (b *Board) Standing(ctx context.Context) (s Standing, err error) {
	n, err := b.each(ctx, b.voters, func(ctx context.Context, v Voter) error {
		e := b.end(v.Name, orders)
		e.mu.Lock()
		defer e.mu.Unlock()

		return b.walk(ctx, v.Store, orders, e)
	})
	if !b.Majority(n) {
		return s, fail.New(fail.Unavailable, op, b.group, "see that a majority of vaults and witness can be reached from here", errors.Join(fmt.Errorf("%d of %d voters have told what people ordered", n, len(b.voters)), err))
	}

	for _, v := range b.voters {
		e := b.end(v.Name, orders)
		if !e.mu.TryLock() {
			continue
		}
		body := e.last
		e.mu.Unlock()

		o, err := b.order(body)
		if err != nil {
			return s, err
		}
		s = s.and(o.after())
	}

	return s, nil
}

// Begun is the record of a failover that began by itself.
type Begun struct {
	Epoch   uint64            `json:"epoch"`
	From    string            `json:"from"`
	To      string            `json:"to"`
	By      string            `json:"by"`
	At      time.Time         `json:"at"`
	Run     string            `json:"run"`
	Verdict detection.Verdict `json:"verdict"`
}

func (b *Board) begunKey(epoch uint64) string {
	return fmt.Sprintf("%s%016X%s", b.prefix(begun), ^epoch, suffix)
}

// Begin is nil for the one caller that may begin a failover in an epoch: the one whose record a
// majority of the voters has. All ask the voters in one order, the lost region's last: who is
// second at the first of them leaves the others alone, so that one does get through. Conflict
// when others have or may have begun.
func (b *Board) Begin(ctx context.Context, r Begun) error {
	body, err := json.Marshal(r)
	if err != nil {
		return fail.From(fail.Internal, op, r.Run, err)
	}
	k, taken := b.begunKey(r.Epoch), 0

	order := slices.Clone(b.voters)
	slices.SortStableFunc(order, func(x, y Voter) int {
		if (x.Name == r.From) != (y.Name == r.From) {
			return map[bool]int{true: 1, false: -1}[x.Name == r.From]
		}

		return strings.Compare(x.Name, y.Name)
	})

	var errs []error
	for _, v := range order {
		n, err := b.each(ctx, []Voter{v}, func(ctx context.Context, v Voter) error {
			sealed, err := b.codec.Seal(k, body)
			if err != nil {
				return err
			}

			if err = v.Store.Put(ctx, k, sealed); fail.Is(err, fail.Conflict) && b.begunBy(ctx, v, r.Epoch) == r.Run {
				return nil // an answer was lost
			}

			return err
		})

		if taken += n; b.Majority(taken) {
			return nil
		}
		errs = append(errs, err)

		if fail.Is(err, fail.Conflict) {
			break
		}
	}

	return fail.New(fail.Conflict, op, b.group, "begin it by hand: drctl failover run", errors.Join(fmt.Errorf("%d of %d voters let this one begin in epoch %d", taken, len(b.voters), r.Epoch), errors.Join(errs...)))
}

// begunBy is the run that a voter knows to have begun in an epoch; "" is none that can be read.
func (b *Board) begunBy(ctx context.Context, v Voter, epoch uint64) string {
	var r Begun

	body, err := b.get(ctx, v.Store, b.begunKey(epoch))
	if err != nil || json.Unmarshal(body, &r) != nil {
		return ""
	}

	return r.Run
}

// Used reports whether any voter knows of another failover than the run that began by itself in
// an epoch. It is an error when no majority tells.
func (b *Board) Used(ctx context.Context, epoch uint64, run string) (used bool, err error) {
	found := make(chan string, len(b.voters))

	n, err := b.each(ctx, b.voters, func(ctx context.Context, v Voter) error {
		body, err := b.get(ctx, v.Store, b.begunKey(epoch))
		if fail.Is(err, fail.NotFound) {
			return nil
		}

		var r Begun
		if err == nil {
			_ = json.Unmarshal(body, &r) // one that nobody can read is another's
			found <- r.Run
		}

		return err
	})

	for range len(found) {
		if by := <-found; by != run || run == "" {
			return true, nil
		}
	}

	if !b.Majority(n) {
		return false, fail.New(fail.Unavailable, op, b.group, "see that a majority of vaults and witness can be reached from here", err)
	}

	return false, nil
}
