package lookout

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"drctl/internal/detection"
	"drctl/internal/detection/board"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/vault"
	"drctl/targets"
)

var shard = targets.ShardID{Target: "orders", Shard: "0"}

// server stands for a shard's primary and its standby.
type server struct {
	targets.Driver
	mu       sync.Mutex
	err      error
	writable bool
	link     Link
	linkErr  error
	opened   atomic.Int32 // sessions, ever
	sessions atomic.Int32 // that are open
	hung     int32        // the session that does not answer
}

// asked is a session with the server.
type asked struct {
	s *server
	n int32
}

func (a asked) Close() { a.s.sessions.Add(-1) }

func (a asked) Writable(ctx context.Context) (bool, error) {
	a.s.mu.Lock()
	defer a.s.mu.Unlock()

	if a.n == a.s.hung {
		<-ctx.Done()
		return false, ctx.Err()
	}

	return a.s.writable, a.s.err
}

func (s *server) session(context.Context, targets.Driver, targets.Instance) (Session, error) {
	s.sessions.Add(1)
	return asked{s, s.opened.Add(1)}, nil
}

func (s *server) set(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()

	f()
}

func (s *server) Reach(ctx context.Context, _ targets.Instance) (targets.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	return targets.Status{Writable: s.writable}, s.err
}

func (s *server) say(context.Context, targets.Driver, targets.Instance, targets.Instance) (Link, error) {
	s.mu.Lock()
	defer s.mu.Unlock()

	return s.link, s.linkErr
}

// world is a group of one shard with three voters in directories.
type world struct {
	*testing.T
	dir     string
	seal    epoch.Seal
	s       *server
	address atomic.Value
	err     atomic.Value
	puts    atomic.Int64
}

func newWorld(t *testing.T) *world {
	k, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}

	s, err := epoch.NewSeal(k, "set-1")
	if err != nil {
		t.Fatal(err)
	}

	w := &world{T: t, dir: dirOf(t), seal: s, s: &server{writable: true, link: Link{Up: true}}}

	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() { _ = l.Close() })
	w.address.Store(l.Addr().String())

	return w
}

// dirOf is a directory in which a voter may still write for a moment when a lookout has ended: it waits
// for none that hangs.
func dirOf(t *testing.T) string {
	t.Helper()

	dir, err := os.MkdirTemp("", "drctl-lookout-")
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(func() {
		for end := time.Now().Add(10 * time.Second); os.RemoveAll(dir) != nil; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("left behind: %s", dir)
				return
			}
		}
	})

	return dir
}

type counted struct {
	board.Store
	n *atomic.Int64
}

func (c counted) Put(ctx context.Context, k string, b []byte) error {
	c.n.Add(1)
	return c.Store.Put(ctx, k, b)
}

// voters are the three, of which east's is the lost region's.
func (w *world) voters(east func(board.Store) board.Store) (out []board.Voter) {
	w.Helper()

	for _, n := range []string{"east", "west", "witness"} {
		s, err := vault.OpenStore(w.Context(), vault.Location{URL: "file://" + filepath.Join(w.dir, n)})
		if err != nil {
			w.Fatal(err)
		}
		out = append(out, board.Voter{Name: n, Store: counted{s, &w.puts}})
	}
	out[0].Store = east(out[0].Store)

	return out
}

// at is a lookout in a place.
func (w *world) at(place string, judged func(context.Context, Seen)) *Lookout {
	w.Helper()

	same := func(s board.Store) board.Store { return s }

	b, err := board.Open("shop", w.voters(same), w.seal, epoch.Boot, 5*time.Second)
	if err != nil {
		w.Fatal(err)
	}

	return New(Options{Group: "shop", Place: place, Process: place, Places: []string{"east", "west", "third"}, Home: "east", Interval: 50 * time.Millisecond, Limit: 2 * time.Second,
		Rules:  detection.Rules{Lost: 500 * time.Millisecond, Up: 300 * time.Millisecond, Stale: 20 * time.Second, Skew: time.Second, Votes: 2, Window: time.Minute},
		Shards: []Shard{{shard, targets.Redis, []string{"east", "west"}}}, Board: b, Judged: judged, Log: slog.New(slog.DiscardHandler),
		Link: w.s.say, Driver: func(targets.Kind) (targets.Driver, error) { return w.s, nil },
		Instance: func(context.Context, targets.ShardID, string) (targets.Instance, error) {
			err, _ := w.err.Load().(error)
			return targets.Instance{Kind: targets.Redis, Shard: shard, Address: w.address.Load().(string)}, err
		}})
}

// TestWhatALookSays: no answer is dead, any answer is alive, and what could not be tried is
// no vote.
func TestWhatALookSays(t *testing.T) {
	answers := func(err error, writable bool) func(*world) {
		return func(w *world) { w.s.set(func() { w.s.err, w.s.writable = err, writable }) }
	}
	links := func(k Link, err error) func(*world) {
		return func(w *world) { w.s.set(func() { w.s.link, w.s.linkErr = k, err }) }
	}

	for name, c := range map[string]struct {
		prepare func(*world)
		kind    detection.Kind
		want    detection.Saw
	}{
		"it takes writes":          {func(*world) {}, detection.Probe, detection.Alive},
		"it takes none":            {answers(nil, false), detection.Probe, detection.Alive},
		"it refuses":               {answers(fail.Newf(fail.Denied, "t", "", "password"), false), detection.Probe, detection.Alive},
		"nobody listens":           {func(w *world) { w.address.Store("127.0.0.1:1") }, detection.Probe, detection.Dead},
		"it does not answer":       {answers(fail.Newf(fail.Unavailable, "t", "", "time-out"), false), detection.Probe, detection.Dead},
		"no password":              {func(w *world) { w.err.Store(errors.New("no such file")) }, detection.Probe, detection.Unable},
		"no name":                  {func(w *world) { w.address.Store("nowhere.invalid:1") }, detection.Probe, detection.Unable},
		"no file handles":          {answers(fail.Newf(fail.Exhausted, "t", "", "too many open files"), false), detection.Probe, detection.Unable},
		"bytes come":               {links(Link{Up: true}, nil), detection.Link, detection.Alive},
		"the link is down":         {links(Link{}, nil), detection.Link, detection.Dead},
		"nothing for long":         {links(Link{Up: true, Silent: time.Minute}, nil), detection.Link, detection.Dead},
		"the standby is not there": {links(Link{}, fail.Newf(fail.Unavailable, "t", "", "gone")), detection.Link, detection.Unable},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			c.prepare(w)

			for _, s := range w.at("west", nil).look(t.Context()) {
				if s.Kind == c.kind && s.Saw != c.want {
					t.Errorf("%+v, want %s", s, c.want)
				}
			}
		})
	}

	for err, want := range map[error]detection.Saw{syscall.ECONNREFUSED: detection.Dead, syscall.ETIMEDOUT: detection.Dead, syscall.EHOSTUNREACH: detection.Dead, syscall.EMFILE: detection.Unable,
		syscall.ENETUNREACH: detection.Unable, context.DeadlineExceeded: detection.Dead, context.Canceled: detection.Unable, io.EOF: detection.Dead} {
		if got := dialled(err); got != want {
			t.Errorf("%v: %s, want %s", err, got, want)
		}
	}
}

// TestTwoPlaces: two places agree on a loss when nobody sees life, and only then; and while
// all is well they write next to nothing.
// A session is kept from look to look. One that breaks or hangs makes no dead server, and
// none is left when nobody looks.
func TestSessionsAreKept(t *testing.T) {
	w := newWorld(t)
	l := w.at("east", nil)
	l.o.Session = w.s.session

	look := func(what string, want detection.Saw, opened, open int32) {
		t.Helper()

		for _, s := range l.look(t.Context()) {
			if s.Kind == detection.Probe && s.Saw != want {
				t.Errorf("%s: it saw %s: %s", what, s.Saw, s.Why)
			}
		}

		if n, m := w.s.opened.Load(), w.s.sessions.Load(); n != opened || m != open {
			t.Errorf("%s: %d sessions were opened, %d are open; want %d, %d", what, n, m, opened, open)
		}
	}

	for range 3 {
		look("well", detection.Alive, 1, 1)
	}

	w.s.set(func() { w.s.hung = 1 })
	look("the session hangs", detection.Alive, 2, 1)

	w.s.set(func() { w.s.err = fail.Newf(fail.Unavailable, "t", "", "gone") })
	look("nobody answers", detection.Dead, 2, 0)

	w.s.set(func() { w.s.err = nil })
	look("well again", detection.Alive, 3, 1)

	w.s.set(func() { w.s.writable = false })
	look("it is a standby", detection.Alive, 3, 0)

	w.s.set(func() { w.s.writable = true })
	look("it takes writes again", detection.Alive, 4, 1)

	was := w.address.Load()
	w.address.Store("127.0.0.1:1")

	l.instances = map[string]cached{} // a minute later

	look("it is elsewhere", detection.Dead, 4, 0)

	w.address.Store(was)

	l.instances = map[string]cached{}

	look("it is back", detection.Alive, 5, 1)

	l.watch("west")

	if n := w.s.sessions.Load(); n != 0 {
		t.Errorf("%d sessions with a region that nobody looks at", n)
	}
}

func TestTwoPlaces(t *testing.T) {
	w := newWorld(t)

	var mu sync.Mutex
	var west detection.State

	looks := 0
	a := w.at("west", func(_ context.Context, s Seen) {
		mu.Lock()
		defer mu.Unlock()

		west = s.Verdict.State
		looks++
	})
	is := func(want detection.State) bool {
		mu.Lock()
		defer mu.Unlock()

		return west == want
	}
	until := func(what string, f func() bool) {
		t.Helper()

		for end := time.Now().Add(3 * time.Minute); !f(); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("it never happens: %s", what)
			}
		}
	}
	run := func(l *Lookout) (stop func()) {
		ctx, cancel := context.WithCancel(t.Context())

		var done sync.WaitGroup
		done.Go(func() { l.Run(ctx) })

		return func() { cancel(); done.Wait() }
	}

	stop := run(a)
	defer stop()

	until("up", func() bool { return is(detection.Up) })

	mu.Lock()
	before, from := w.puts.Load(), looks

	mu.Unlock()
	until("some looks", func() bool { mu.Lock(); defer mu.Unlock(); return looks > from+20 })

	if n := w.puts.Load() - before; n > 6 { // what changed, in three voters
		t.Errorf("%d records in twenty looks while all is well", n)
	}

	// One place alone is suspicious, and no more.
	w.s.set(func() { w.s.err, w.s.link = fail.Newf(fail.Unavailable, "t", "", "gone"), Link{} })
	until("suspected", func() bool { return is(detection.Suspected) })
	time.Sleep(time.Second)

	if !is(detection.Suspected) {
		t.Error("one place is enough for a loss")
	}

	other := run(w.at("third", nil))

	until("lost", func() bool { return is(detection.Lost) })

	// A standby that gets bytes is enough against both.
	w.s.set(func() { w.s.link = Link{Up: true} })
	until("suspected again", func() bool { return is(detection.Suspected) })
	w.s.set(func() { w.s.err = nil })
	until("up again", func() bool { return is(detection.Up) })
	other()
}
