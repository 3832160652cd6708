package traffic

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"drctl/internal/fail"
)

// Bound is a route with what moves it.
type Bound struct {
	Route  Route
	Driver Driver
}

// Set are the routes that are moved together.
type Set []Bound

// States are what was read of a set, by route.
type States map[string]State

// UndoLimit bounds how long a hold that failed is let go for, after its own time
// was up.
const UndoLimit = 10 * time.Second

// Read reads every route at the same time; all or an error.
func (s Set) Read(ctx context.Context) (States, error) {
	states := make([]State, len(s))

	err := Each(len(s), func(i int) (err error) {
		states[i], err = s[i].Driver.Read(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}

	out := States{}
	for i, b := range s {
		out[b.Route.Name] = states[i]
	}

	return out, nil
}

// Hold holds every route that can be, at the same time and within one deadline,
// that of ctx. When one cannot be held, the others are given up at once and all are
// brought back to was, what Read returned before: the error says so.
func (s Set) Hold(ctx context.Context, was States) error {
	group, ctx2 := errgroup.WithContext(ctx)
	held := s.able(func(a Abilities) bool { return a.Hold })

	for _, b := range held {
		if _, ok := was[b.Route.Name]; !ok {
			return notRead("traffic: hold", b.Route)
		}
	}

	for _, b := range held {
		group.Go(func() error { return b.Driver.Hold(ctx2) })
	}

	err := group.Wait()
	if err == nil {
		return nil
	}

	back, cancel := context.WithTimeout(context.WithoutCancel(ctx), UndoLimit)
	defer cancel()

	if uerr := held.Undo(back, was); uerr != nil {
		return fail.New(fail.CodeOf(err), "traffic: hold", "", "release them by hand: clients wait there",
			fmt.Errorf("%w; and not all routes could be released: %w", err, uerr))
	}

	return err
}

// Isolate keeps clients from every server, at every route that can do so. All are
// tried.
func (s Set) Isolate(ctx context.Context) error {
	able := s.able(func(a Abilities) bool { return a.Isolate })
	return Each(len(able), func(i int) error { return able[i].Driver.Isolate(ctx) })
}

// Point points every route that can be to the region. All are tried.
func (s Set) Point(ctx context.Context, region string) error {
	able := s.able(func(a Abilities) bool { return a.Point })
	return Each(len(able), func(i int) error { return able[i].Driver.Point(ctx, region) })
}

// Release lets the clients of every route through to the region. All are tried.
func (s Set) Release(ctx context.Context, region string, was States) error {
	able := s.able(func(a Abilities) bool { return a.Hold || a.Isolate })

	return Each(len(able), func(i int) error {
		state, ok := was[able[i].Route.Name]
		if !ok {
			return notRead("traffic: release", able[i].Route)
		}

		return able[i].Driver.Release(ctx, region, state)
	})
}

// Undo brings every route back to what was read. All are tried.
func (s Set) Undo(ctx context.Context, was States) error {
	return Each(len(s), func(i int) error {
		state, ok := was[s[i].Route.Name]
		if !ok {
			return notRead("traffic: undo", s[i].Route)
		}

		return s[i].Driver.Undo(ctx, state)
	})
}

// Named returns the routes of the set that have these names, in its order.
func (s Set) Named(names []string) Set {
	var out Set
	for _, b := range s {
		for _, n := range names {
			if b.Route.Name == n {
				out = append(out, b)
				break
			}
		}
	}

	return out
}

// Close gives up all connections.
func (s Set) Close() {
	for _, b := range s {
		b.Driver.Close()
	}
}

func (s Set) able(can func(Abilities) bool) Set {
	var out Set
	for _, b := range s {
		if can(b.Driver.Can()) {
			out = append(out, b)
		}
	}

	return out
}

func notRead(op string, r Route) error {
	return fail.New(fail.Internal, op, r.String(), "", errors.New("it was not read before"))
}
