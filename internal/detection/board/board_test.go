package board

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"drctl/internal/detection"
	"drctl/internal/epoch"
	"drctl/internal/fail"
	"drctl/internal/vault"
)

// world is three voters in directories, which can be away.
type world struct {
	*testing.T
	dir  string
	seal epoch.Seal
	now  atomic.Int64
	puts atomic.Int64
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

	return &world{T: t, dir: t.TempDir(), seal: s}
}

// away is a voter that does not answer.
type away struct{ Store }

func (away) Put(context.Context, string, []byte) error {
	return fail.Newf(fail.Unavailable, "test", "", "away")
}

type counted struct {
	Store
	n *atomic.Int64
}

func (c counted) Put(ctx context.Context, k string, b []byte) error {
	c.n.Add(1)
	return c.Store.Put(ctx, k, b)
}

// board is one process's; the voters named do not take anything.
func (w *world) board(without ...string) *Board {
	w.Helper()

	var voters []Voter
	for _, n := range []string{"east", "west", "witness"} {
		s, err := vault.OpenStore(w.Context(), vault.Location{URL: "file://" + filepath.Join(w.dir, n)})
		if err != nil {
			w.Fatal(err)
		}

		v := Voter{n, counted{s, &w.puts}}
		for _, x := range without {
			if x == n {
				v.Store = away{s}
			}
		}
		voters = append(voters, v)
	}

	b, err := Open("shop", voters, w.seal, func() time.Duration { return time.Duration(w.now.Load()) }, 10*time.Second)
	if err != nil {
		w.Fatal(err)
	}

	return b
}

func (w *world) vote(place, process string, saw detection.Saw, at time.Duration) detection.Vote {
	return detection.Vote{Place: place, Process: process, Region: "east", Wall: time.Unix(0, 0).Add(at).UTC(), Sightings: []detection.Sighting{{Kind: detection.Probe, Saw: saw}}}
}

// TestVotes: what is new is heard when it is read, what was there before never as new, and
// of each process the newest counts.
func TestVotes(t *testing.T) {
	w := newWorld(t)
	third, west := w.board(), w.board("east")

	say := func(b *Board, v detection.Vote) {
		t.Helper()

		if err := b.Say(t.Context(), v); err != nil {
			t.Fatal(err)
		}
	}
	hear := func(of ...int) map[string]detection.Heard {
		t.Helper()

		out := map[string]detection.Heard{}

		heard, n, err := west.Hear(t.Context(), []string{"third", "west"}, of...)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}

		for _, h := range heard {
			out[h.Process] = h
		}

		return out
	}

	say(third, w.vote("third", "t1", detection.Alive, 1))
	w.now.Store(int64(time.Hour))

	if h := hear()["t1"]; h.Sightings[0].Saw != detection.Alive || h.At > 0 {
		t.Errorf("what was there before: %+v", h)
	}

	say(third, w.vote("third", "t1", detection.Dead, 2))
	say(third, w.vote("third", "t2", detection.Alive, 3))
	w.now.Add(int64(time.Second))

	got := hear()
	if got["t2"].At != time.Hour+time.Second || got["t2"].Sightings[0].Saw != detection.Alive {
		t.Errorf("a word that is new: %+v", got)
	}

	// One voter alone tells as well, and who writes through two voters is read from either.
	say(west, w.vote("west", "w1", detection.Dead, 4))
	say(third, w.vote("third", "t1", detection.Alive, 5))

	if h := hear(2)["t1"]; h.Sightings[0].Saw != detection.Alive {
		t.Errorf("%+v", h)
	}

	// Two processes of one place write into one sequence.
	other := w.board()
	say(other, w.vote("third", "t9", detection.Dead, 6))
	say(third, w.vote("third", "t1", detection.Dead, 7))

	if got := hear(); got["t1"].Sightings[0].Saw != detection.Dead || got["w1"].Process == "" {
		t.Errorf("%+v", got)
	}
}

// TestKept: of votes no more are kept than are needed.
func TestKept(t *testing.T) {
	w := newWorld(t)
	b := w.board()

	for i := range keep + 200 {
		if err := b.Say(t.Context(), w.vote("third", "t1", detection.Alive, time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}

	n := 0
	for _, err := range b.voters[0].Store.List(t.Context(), b.prefix(votes+"third"), "") {
		if err != nil {
			t.Fatal(err)
		}

		n++
	}

	if n > keep+64 || n < keep {
		t.Errorf("%d votes are kept", n)
	}
}

// TestOrders: a majority takes them and tells them, also to who has a clock that is behind.
func TestOrders(t *testing.T) {
	w := newWorld(t)
	a, b := w.board("east"), w.board("witness")
	at := time.Unix(1000, 0).UTC()

	order := func(x *Board, o Order) {
		t.Helper()

		if err := x.Order(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	stands := func(off, ack bool) {
		t.Helper()

		for _, x := range []*Board{a, b, w.board()} {
			s, err := x.Standing(t.Context())
			if err != nil || (s.Off != nil) != off || (s.Acknowledged != nil) != ack {
				t.Errorf("%+v, %v", s, err)
			}
		}
	}

	stands(false, false)
	order(a, Order{Do: Off, By: "ann", Reason: "we move racks", At: at})
	stands(true, false)
	order(b, Order{Do: Acknowledge, By: "bob", Reason: "I look", At: at.Add(-time.Hour), Until: at})
	stands(true, true)
	order(a, Order{Do: On, By: "ann", Reason: "done", At: at.Add(-2 * time.Hour)})
	stands(false, false)

	if err := w.board("east", "west").Order(t.Context(), Order{Do: Off, By: "ann", At: at}); !fail.Is(err, fail.Unavailable) {
		t.Errorf("one voter is no majority: %v", err)
	}
}

// TestBegin: of two that want to begin in one epoch one may, and none of two that have
// half of the voters each.
func TestBegin(t *testing.T) {
	w := newWorld(t)
	a, b := w.board("east"), w.board()

	if used, err := b.Used(t.Context(), 7, "b"); err != nil || used {
		t.Fatal(used, err)
	}

	if err := a.Begin(t.Context(), Begun{Epoch: 7, Run: "a"}); err != nil {
		t.Fatal(err)
	}

	if err := b.Begin(t.Context(), Begun{Epoch: 7, Run: "b"}); !fail.Is(err, fail.Conflict) {
		t.Errorf("the second one: %v", err)
	}

	if used, err := b.Used(t.Context(), 7, "b"); err != nil || !used {
		t.Error(used, err)
	}

	// Two at one time, with a voter away: one of them begins, and not none.
	for n := range uint64(20) {
		var won atomic.Int64
		var both sync.WaitGroup

		for i, x := range []*Board{w.board("east"), w.board("east")} {
			both.Go(func() {
				if x.Begin(t.Context(), Begun{Epoch: 100 + n, From: "east", Run: fmt.Sprint(i)}) == nil {
					won.Add(1)
				}
			})
		}

		both.Wait()

		if won.Load() != 1 {
			t.Fatalf("%d have begun in one epoch", won.Load())
		}
	}

	if err := w.board("east", "west").Begin(t.Context(), Begun{Epoch: 8, Run: "c"}); !fail.Is(err, fail.Conflict) {
		t.Errorf("with one voter: %v", err)
	}
}
