package guard

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"drctl/internal/epoch"
	"drctl/internal/fail"
)

// Server is one server on this host. Calls may be repeated.
type Server interface {
	// Instance names it, as in "orders/1@east".
	Instance() string
	// Writable reports whether it takes writes. An error is no answer.
	Writable(ctx context.Context) (bool, error)
	// Place is where its processes are known by on this host: those of no other
	// server, and none when it is gone. Without a directory it is not known yet.
	Place() (dir string, programs []string)
	// Here reports whether the server that is called by this name was seen to be at the place. The
	// guard answers for no other: what it kills there may be something else.
	Here() bool
	// Hold makes it refuse writes, ends sessions, and returns when none is left.
	Hold(ctx context.Context) error
	// Release takes back what Hold has left behind.
	Release(ctx context.Context) error
	// Stop asks it to end in order. It does not wait.
	Stop(ctx context.Context) error
}

// Guard is a guard of one group in one region on this host.
type Guard struct {
	Log    *epoch.Log
	Region string
	// Name tells this guard from those on other hosts.
	Name    string
	Servers []Server
	// Lease is that of an epoch that this guard claims: the first of a group.
	Lease time.Duration
	// Watchman stands by; nil is none, for tests of the rest.
	Watchman *Watchman
	Clock    epoch.Clock
	Out      *slog.Logger
}

// Run guards until the context ends: then it has itself taken off the list, and
// leaves the servers running. When that cannot be said to a majority, it fences
// them instead. The error is of what makes guarding impossible.
func (g *Guard) Run(ctx context.Context) error {
	if g.Clock == nil {
		g.Clock = epoch.Boot
	}

	if g.Lease < epoch.MinLease || g.Lease > epoch.MaxLease || len(g.Servers) == 0 {
		return fail.New(fail.Invalid, "guard", g.Region, "give it servers, and a lease between one second and one minute", nil)
	}

	for {
		t, err := g.enter(ctx, g.Lease)
		if err != nil && ctx.Err() == nil && !fail.Is(err, fail.Invalid) {
			t, err = g.outside(ctx, err)
		}

		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		case t == nil:
			continue
		}

		if g.hold(ctx, t) {
			if ctx.Err() == nil {
				return fail.New(fail.Unavailable, "guard", g.Region, "start it again: the servers run without a guard", errors.New("its watchman is gone"))
			}

			return nil
		}
	}
}

// enter takes part in the region's epoch, or claims the first one of the group.
func (g *Guard) enter(ctx context.Context, limit time.Duration) (*epoch.Tenure, error) {
	c, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	t, err := g.Log.Join(c, g.Region, g.Name)
	if fail.Is(err, fail.NotFound) {
		for _, s := range g.Servers {
			if w, err := s.Writable(c); err != nil || !w {
				return nil, fail.New(fail.Conflict, "guard: first epoch", s.Instance(), "start the guard of the region whose servers take writes", err)
			}
		}

		t, err = g.Log.Claim(c, epoch.Bid{Holder: g.Region, Run: "first", Lease: g.Lease})
		if err == nil {
			err = t.Wait(c)
		}

		if err == nil {
			t, err = g.Log.Join(c, g.Region, g.Name)
		}
	}

	if err == nil && left(t) == 0 {
		err = fail.New(fail.Stalled, "guard", g.Region, "", errors.New("a lease of another region may still run"))
	}

	return t, err
}

// left is for how long the guard may leave its servers alone. In a planned epoch the
// lease of the region before may still run: its servers were ended in order before
// one of these was promoted.
func left(t *epoch.Tenure) time.Duration {
	if t.Epoch().Planned {
		return t.Own()
	}

	return t.Left()
}

// outside is what the guard does without a lease: no server of its takes writes. It looks
// for a while, because a server that comes back is to be seen sooner than an epoch that
// changes, and returns early with the epoch when one that writes was promoted in it.
func (g *Guard) outside(ctx context.Context, why error) (*epoch.Tenure, error) {
	for range 6 {
		if on := g.writers(ctx, g.Lease/3, g.Servers); len(on) > 0 {
			t, err := g.enter(ctx, g.Lease/3)
			if err == nil || ctx.Err() != nil || fail.Is(err, fail.Invalid) {
				return t, err
			}

			g.Out.WarnContext(ctx, "a server takes writes and the region does not hold the epoch: it is fenced", "region", g.Region, "reason", fail.Cause(errors.Join(err, why)))
			g.fence(on, g.Clock()+g.Lease/3)
		}

		g.pause(ctx, g.Lease/20)
	}

	return nil, nil
}

// answer is what a server said of itself.
type answer struct{ writes, silent bool }

// ask asks all servers at once.
func (g *Guard) ask(ctx context.Context, limit time.Duration) []answer {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	out := make([]answer, len(g.Servers))

	var all sync.WaitGroup
	for i, s := range g.Servers {
		all.Go(func() {
			w, err := s.Writable(ctx)
			out[i] = answer{writes: err == nil && w, silent: err != nil}
		})
	}

	all.Wait()

	return out
}

// writers are the servers that take writes. One that gives no answer is taken for one, but for
// those that are known to be calm.
func (g *Guard) writers(ctx context.Context, limit time.Duration, calm []Server) (out []Server) {
	for i, a := range g.ask(ctx, limit) {
		if s := g.Servers[i]; a.writes || a.silent && !slices.Contains(calm, s) {
			out = append(out, s)
		}
	}

	return out
}

// hold guards for as long as the region holds the epoch. It is true when the
// guard is to end.
func (g *Guard) hold(ctx context.Context, t *epoch.Tenure) bool {
	lease := time.Duration(t.Epoch().Lease)

	g.release(ctx)
	g.tell(t)
	g.look(ctx, lease/6)

	said := g.instances()
	g.unseen(ctx)
	t.Cover(said) // from the next renewal on, with the watchman standing by

	var calm []Server // who has said, since a planned claim, that it takes no writes

	for wait := time.Duration(0); ; {
		g.pause(ctx, wait)

		if ctx.Err() != nil {
			return g.leave(t, lease)
		}

		if g.Watchman.gone() { // nobody would kill in the guard's stead
			g.Out.ErrorContext(ctx, "the watchman is gone: the guard takes itself off the list", "region", g.Region)
			return g.leave(t, lease)
		}

		// The promise is kept for as long as there is time to keep it.
		c, cancel := context.WithTimeout(context.WithoutCancel(ctx), max(0, left(t)-lease/3))
		err := t.Renew(c)

		cancel()

		if fail.Is(err, fail.Conflict) { // by another claim of the same region, perhaps, or the group came back
			if next, e := g.enter(ctx, left(t)-lease*2/5); e == nil {
				return g.hold(ctx, next)
			}
		}

		switch left := left(t); {
		case err == nil:
			g.look(ctx, lease/24)
			g.tell(t)

			if now := g.instances(); !slices.Equal(now, said) { // one has come whose place was not known
				t.Cover(now)

				said = now
			}

			wait = lease / 3
		case fail.Is(err, fail.Conflict) && !planned(err), left <= lease*2/5:
			if fail.Is(err, fail.Conflict) && !planned(err) {
				calm = nil
			}

			g.end(ctx, t, lease, calm, err)

			return false
		default:
			begun := g.Clock()
			if planned(err) {
				calm = g.calm(ctx, lease/24, calm)
			}

			g.Out.WarnContext(ctx, "the lease could not be renewed", "region", g.Region, "left", left.String(), "reason", fail.Cause(err))
			wait = min(lease/20, left-lease/3) - (g.Clock() - begun)
		}
	}
}

// look asks the servers that were not seen at their place yet.
func (g *Guard) look(ctx context.Context, limit time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()

	for _, s := range g.Servers {
		if !s.Here() {
			_, _ = s.Writable(ctx) // it says more next time
		}
	}
}

func planned(err error) bool {
	r, ok := epoch.Ahead(err)

	return ok && r.Planned
}

// calm adds who says that it takes no writes, and takes off who says that it does. One that is silent
// stays as it was: it may load what its new primary sends, and it is a standby by then.
func (g *Guard) calm(ctx context.Context, limit time.Duration, was []Server) (out []Server) {
	for i, a := range g.ask(ctx, limit) {
		if s := g.Servers[i]; !a.writes && (!a.silent || slices.Contains(was, s)) {
			out = append(out, s)
		}
	}

	return out
}

// end fences the servers that take writes, and those that are silent and were not calm: they are gone when
// the lease ends. A standby, such as one that was a primary before a switchover, stays.
func (g *Guard) end(ctx context.Context, t *epoch.Tenure, lease time.Duration, calm []Server, why error) {
	g.Out.WarnContext(ctx, "the region lets go of its servers", "region", g.Region, "epoch", t.Epoch().Epoch, "reason", fail.Cause(why))

	on, at := g.writers(context.WithoutCancel(ctx), lease/24, calm), t.Until()-lease/6
	g.Watchman.Tell(Watch{Until: at, Places: places(on)})
	g.fence(on, at)
	g.Watchman.Tell(Watch{}) // what comes back is not the same
}

// leave takes the guard off the list, for as long as the lease lasts.
func (g *Guard) leave(t *epoch.Tenure, lease time.Duration) bool {
	t.Cover(nil)

	for left(t) > lease/3 {
		c, cancel := context.WithTimeout(context.Background(), left(t)-lease/3)
		err := t.Renew(c)

		cancel()

		if err == nil {
			g.Watchman.Dismiss()
			return true
		}

		time.Sleep(lease / 50)
	}

	g.end(context.Background(), t, lease, nil, errors.New("the guard was to end, and that could not be said to a majority"))
	g.Watchman.Dismiss()

	return true
}

// blink is how long a timer runs at most. Timers stand still while the machine sleeps, and
// the clock of the leases does not.
const blink = 100 * time.Millisecond

func (g *Guard) pause(ctx context.Context, d time.Duration) {
	for end := g.Clock() + max(d, time.Millisecond); ctx.Err() == nil; {
		left := end - g.Clock()
		if left <= 0 {
			return
		}

		select {
		case <-ctx.Done():
		case <-time.After(min(left, blink)):
		}
	}
}

func (g *Guard) instances() (all []string) {
	for _, s := range g.Servers {
		if place(s).Dir != "" && s.Here() {
			all = append(all, s.Instance())
		}
	}

	return all
}

// tell has the watchman know until when the servers may run, and what they are now.
func (g *Guard) tell(t *epoch.Tenure) {
	g.Watchman.Tell(Watch{Until: t.Until() - time.Duration(t.Epoch().Lease)/6, Places: places(g.Servers)})
}

// unseen says for which servers the guard does not answer.
func (g *Guard) unseen(ctx context.Context) {
	for _, s := range g.Servers {
		if !s.Here() {
			g.Out.WarnContext(ctx, "the guard does not answer for the server: none on this host was seen to be it. It is asked again with each renewal", "region", g.Region, "instance", s.Instance())
		}
	}
}

func (g *Guard) release(ctx context.Context) {
	c, cancel := context.WithTimeout(ctx, g.Lease/3)
	defer cancel()

	for _, s := range g.Servers {
		if err := s.Release(c); err != nil {
			g.Out.WarnContext(ctx, "what a fence has left behind could not be taken back", "instance", s.Instance(), "reason", fail.Cause(err))
		}
	}
}

// fence has the servers let go in order while there is time, and kills what is
// left at the given instant. It returns when all are gone.
func (g *Guard) fence(servers []Server, at time.Duration) {
	var all sync.WaitGroup
	for _, s := range servers {
		all.Go(func() { g.fenceOne(s, at) })
	}

	all.Wait()
}

func (g *Guard) fenceOne(s Server, at time.Duration) {
	left := func() time.Duration { return at - g.Clock() }
	log := g.Out.With("instance", s.Instance())

	// Half of the time for the sessions: it is the stop that makes sure.
	c, cancel := context.WithTimeout(context.Background(), left()/2)
	if err := s.Hold(c); err != nil {
		log.Warn("it could not be made read-only", "reason", fail.Cause(err))
	}

	cancel()

	c, cancel = context.WithTimeout(context.Background(), left())
	if err := s.Stop(c); err != nil {
		log.Warn("it could not be asked to stop", "reason", fail.Cause(err))
	}

	cancel()

	for left() > 0 && place(s).Taken() {
		time.Sleep(min(5*time.Millisecond, left()))
	}

	for place(s).Taken() {
		if err := Kill([]Place{place(s)}); err != nil {
			log.Error("it could not be killed", "reason", fail.Cause(err))
			time.Sleep(10 * time.Millisecond)
		}
	}

	log.Warn("the server is stopped")
}
