package traffic

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"drctl/internal/fail"
)

// Driver moves one route. Its calls can be repeated and can be given up at any
// time through their context, which also bounds them; whatever they left, a new
// driver for the same route goes on from there. A driver keeps its connections
// between calls, so that Read before an outage makes the calls within it quick.
// It is safe for use by several goroutines.
//
// Errors are *fail.Error: unavailable (a part did not answer), stalled (the time
// was up), denied, conflict (it is not as it must be), invalid (the
// configuration), unsupported, unverified (it was changed, and reading back shows
// something else).
type Driver interface {
	// Can says what the route can do, from its configuration alone.
	Can() Abilities
	// Read asks every part where it points. It changes nothing, and fails when a
	// part does not answer: State is whole or not there.
	Read(ctx context.Context) (State, error)
	// Hold lets new work wait and what has begun end. When a part cannot be held, all
	// that this call has held is let go again, also when ctx has ended.
	Hold(ctx context.Context) error
	// Isolate keeps clients from every server that the route knows, by force: from
	// its return on none is connected to one through it, until Point, Release or Undo. Parts that
	// fail do not keep it from the others.
	Isolate(ctx context.Context) error
	// Point makes every part lead to the region, and to no other: from its return on
	// no client is connected to another region through it, but for Abilities.Lag. What
	// is held stays held.
	Point(ctx context.Context, region string) error
	// Release ends Hold and Isolate: clients get through to the region. A part that
	// does not point there is conflict, and stays as it is. was is the state that was
	// read before Hold.
	Release(ctx context.Context, region string, was State) error
	// Undo brings every part back to the state that was read. A part that does not
	// come back keeps none of the others from it, and is not opened.
	Undo(ctx context.Context, was State) error
	// Close gives up connections. Nothing is released.
	Close()
}

// Each runs f for 0 to n-1 at the same time and joins the errors.
func Each(n int, f func(i int) error) error {
	errs := make([]error, n)

	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() { errs[i] = f(i) })
	}

	wg.Wait()

	return join(errs)
}

// join makes one *fail.Error of several: that of the first, which names the others.
func join(errs []error) error {
	errs = slices.DeleteFunc(slices.Clone(errs), func(e error) bool { return e == nil })
	if len(errs) <= 1 {
		return errors.Join(errs...)
	}

	var first *fail.Error
	if !errors.As(errs[0], &first) {
		return errors.Join(errs...)
	}

	others := make([]string, 0, len(errs)-1)
	for _, e := range errs[1:] {
		others = append(others, e.Error())
	}

	return fail.New(first.Code, first.Op, first.Subject, first.Hint, several{fmt.Sprintf("%s; and %s", fail.Cause(first), strings.Join(others, "; and ")), errs})
}

// several is the cause of an error that stands for many.
type several struct {
	text string
	errs []error
}

func (s several) Error() string { return s.text }

func (s several) Unwrap() []error { return s.errs }

// CannotDo is the error of a call that a route has no ability for.
func CannotDo(op string, r Route, hint string) error {
	return fail.New(fail.Unsupported, op, r.String(), hint, errors.New("this route cannot do that"))
}

// UnknownRegion is the error of Point and Release for a region without a backend.
func UnknownRegion(op string, r Route, region string) error {
	return fail.New(fail.Invalid, op, r.String(), "name its address under backends", fmt.Errorf("the route has no backend in region %q", region))
}

// OtherState is the error of Undo for a state that was read of something else.
func OtherState(op string, r Route, part string) error {
	return fail.New(fail.Invalid, op, r.String(), "undo by hand: the configuration has changed since",
		fmt.Errorf("the state that was read says nothing of %s", part))
}

// Elsewhere is the error of Release for a part that does not point to the region.
func Elsewhere(op string, r Route, p Part, region string) error {
	at := p.Address
	if at == "" {
		at = "nowhere"
	}

	return fail.New(fail.Conflict, op, r.String(), "point it first, or undo",
		fmt.Errorf("%s leads to %s and not to region %s; it is not opened", p.Name, at, region))
}
