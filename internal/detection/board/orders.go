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
}

// after is what is in force after an order.
func (o Order) after() Standing {
	s := o.Was
	o.Was = Standing{}

	switch o.Do {
	case Off:
		s.Off = &o
	case On:
		s.Off, s.Acknowledged = nil, nil
	case Acknowledge:
		s.Acknowledged = &o
	}

	return s
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
// then nobody knows whether it is in force.
func (b *Board) Order(ctx context.Context, o Order) error {
	newest, err := b.newestOrder(ctx)
	if err != nil {
		return err
	}
	o.Was = newest.after()

	if !o.At.After(newest.At) { // by a clock that is behind: the last word counts all the same
		o.At = newest.At.Add(time.Millisecond)
	}

	if n, err := b.append(ctx, orders, o); !b.Majority(n) {
		return fail.New(fail.Unavailable, op, o.Do, "see that a majority of vaults and witness can be written from here, and say it again", errors.Join(fmt.Errorf("%d of %d voters have taken it", n, len(b.voters)), err))
	}

	return nil
}

// Standing is what is in force, as a majority of the voters tells it.
func (b *Board) Standing(ctx context.Context) (Standing, error) {
	o, err := b.newestOrder(ctx)
	return o.after(), err
}

// newestOrder is the last one that any voter of a majority knows.
func (b *Board) newestOrder(ctx context.Context) (newest Order, err error) {
	n, err := b.each(ctx, b.voters, func(ctx context.Context, v Voter) error {
		e := b.end(v.Name, orders)
		e.mu.Lock()
		defer e.mu.Unlock()

		return b.walk(ctx, v.Store, orders, e)
	})
	if !b.Majority(n) {
		return newest, fail.New(fail.Unavailable, op, b.group, "see that a majority of vaults and witness can be reached from here", errors.Join(fmt.Errorf("%d of %d voters have told what people ordered", n, len(b.voters)), err))
	}

	for _, v := range b.voters {
		e := b.end(v.Name, orders)
		if !e.mu.TryLock() {
			continue
		}
		body := e.last
		e.mu.Unlock()

		var o Order

		if len(body) == 0 {
			continue
		}

		if err := json.Unmarshal(body, &o); err != nil {
			return newest, fail.New(fail.Corrupt, op, b.group, "find out who can write to this store besides drctl", err)
		}

		if o.At.After(newest.At) {
			newest = o
		}
	}

	return newest, nil
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

			return v.Store.Put(ctx, k, sealed)
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

// Used reports whether any voter knows of a failover that began by itself in an epoch. It is
// an error when no majority tells.
func (b *Board) Used(ctx context.Context, epoch uint64) (used bool, err error) {
	found := make(chan bool, len(b.voters))

	n, err := b.each(ctx, b.voters, func(ctx context.Context, v Voter) error {
		_, err := b.get(ctx, v.Store, b.begunKey(epoch))
		if fail.Is(err, fail.NotFound) {
			return nil
		}

		if err == nil {
			found <- true
		}

		return err
	})

	if len(found) > 0 {
		return true, nil
	}

	if !b.Majority(n) {
		return false, fail.New(fail.Unavailable, op, b.group, "see that a majority of vaults and witness can be reached from here", err)
	}

	return false, nil
}
