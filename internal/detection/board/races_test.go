package board

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"sync"
	"testing"
	"time"

	"drctl/internal/detection"
	"drctl/internal/fail"
	"drctl/internal/vault"
)

// meanwhile does something once before the first record is written.
type meanwhile struct {
	Store
	once *sync.Once
	do   func()
}

func (m meanwhile) Put(ctx context.Context, k string, b []byte) error {
	m.once.Do(m.do)
	return m.Store.Put(ctx, k, b)
}

// TestTwoOrdersAtOneTime: who switches it off has switched it off, whatever another orders at that
// moment, and whichever majority is read.
func TestTwoOrdersAtOneTime(t *testing.T) {
	for name, c := range map[string]struct {
		other    string
		off, ack bool
	}{"acknowledged": {Acknowledge, true, true}, "off as well": {Off, true, false}} {
		for _, away := range []string{"east", "west", "witness"} {
			t.Run(name+", away is "+away, func(t *testing.T) {
				w := newWorld(t)
				ann, bob := w.board(), w.board()
				at := time.Unix(1000, 0).UTC()

				var once sync.Once
				for i := range bob.voters {
					bob.voters[i].Store = meanwhile{bob.voters[i].Store, &once, func() {
						if err := ann.Order(t.Context(), Order{Do: Off, By: "ann", Reason: "racks", At: at}); err != nil {
							t.Error(err)
						}
					}}
				}

				if err := bob.Order(t.Context(), Order{Do: c.other, By: "bob", Reason: "I look", At: at.Add(time.Second), Until: at.Add(time.Hour)}); err != nil {
					t.Fatal(err)
				}

				reader := w.board()
				for i, v := range reader.voters {
					if v.Name == away {
						reader.voters[i].Store = silent{v.Store}
					}
				}

				s, err := reader.Standing(t.Context())
				if err != nil || (s.Off != nil) != c.off || (s.Acknowledged != nil) != c.ack {
					t.Errorf("%+v, %v", s, err)
				}

				if err := ann.Order(t.Context(), Order{Do: On, By: "ann", Reason: "done", At: at}); err != nil {
					t.Fatal(err)
				}

				if s, err := reader.Standing(t.Context()); err != nil || s.Off != nil || s.Acknowledged != nil {
					t.Errorf("switched on again: %+v, %v", s, err)
				}
			})
		}
	}
}

// silent is a voter that tells nothing.
type silent struct{ Store }

func (silent) Get(context.Context, string) (io.ReadCloser, error) {
	return nil, fail.Newf(fail.Unavailable, "test", "", "away")
}

func (silent) List(context.Context, string, string) iter.Seq2[vault.Info, error] {
	return func(yield func(vault.Info, error) bool) {
		yield(vault.Info{}, fail.Newf(fail.Unavailable, "test", "", "away"))
	}
}

// TestAClockThatIsSetBack: what a place has said since its clock was set back is heard, while a voter
// is away that knows only what it said before.
func TestAClockThatIsSetBack(t *testing.T) {
	w := newWorld(t)
	east, west := w.board(), w.board()

	hear := func() (last []detection.Heard) {
		t.Helper()

		heard, _, err := west.Hear(t.Context(), []string{"east"})
		if err != nil {
			t.Fatal(err)
		}

		return heard
	}

	say := func(b *Board, at, heard time.Duration) []detection.Heard {
		t.Helper()

		if err := b.Say(t.Context(), w.vote("east", "e1", detection.Alive, at)); err != nil {
			t.Fatal(err)
		}

		w.now.Store(int64(heard))

		return hear()
	}

	hear()

	if got := say(east, time.Hour, time.Minute); len(got) != 1 || got[0].At != time.Minute {
		t.Fatalf("%+v", got)
	}

	// Its clock is set back, and the voter east takes nothing any more.
	got := say(w.board("east"), time.Minute, 2*time.Minute)

	newest := time.Duration(0)
	for _, h := range got {
		newest = max(newest, h.At)
	}

	if newest != 2*time.Minute {
		t.Errorf("it was seen alive just now, and nobody hears of it: %+v", got)
	}
}

// lost is a voter whose answer to the first record gets lost.
type lost struct {
	Store
	once *sync.Once
}

func (l lost) Put(ctx context.Context, k string, b []byte) error {
	err := l.Store.Put(ctx, k, b)
	l.once.Do(func() { err = fail.Newf(fail.Unavailable, "test", "", "no answer") })

	return err
}

// TestAnAnswerThatGotLost: who was let begin, and did not hear of it, may begin when it asks again. Another
// may not.
func TestAnAnswerThatGotLost(t *testing.T) {
	w := newWorld(t)
	a, b := w.board("east"), w.board("east")
	a.voters[1].Store = lost{a.voters[1].Store, new(sync.Once)}

	r := Begun{Epoch: 7, From: "east", Run: "a"}
	if err := a.Begin(t.Context(), r); err == nil {
		t.Fatal("one voter of three is a majority")
	}

	if err := b.Begin(t.Context(), Begun{Epoch: 7, From: "east", Run: "b"}); !fail.Is(err, fail.Conflict) {
		t.Errorf("another: %v", err)
	}

	if used, err := b.Used(t.Context(), 7, "b"); err != nil || !used {
		t.Errorf("another: %t, %v", used, err)
	}

	if used, err := a.Used(t.Context(), 7, "a"); err != nil || used {
		t.Errorf("its own attempt: %t, %v", used, err)
	}

	if err := a.Begin(t.Context(), r); err != nil {
		t.Errorf("again: %v", err)
	}
}

// TestTwoProcessesOfOnePlace: who sees life is heard, whoever of the place speaks last.
func TestTwoProcessesOfOnePlace(t *testing.T) {
	w := newWorld(t)
	a, b := w.board(), w.board()

	for _, x := range []*Board{a, b} {
		if _, _, err := x.Hear(t.Context(), []string{"west"}); err != nil {
			t.Fatal(err)
		}
	}

	w.now.Store(int64(time.Minute))

	for i, err := range []error{
		a.Say(t.Context(), w.vote("west", "a", detection.Alive, 1)),
		b.Say(t.Context(), w.vote("west", "b", detection.Dead, 2)),
	} {
		if err != nil {
			t.Fatal(i, err)
		}
	}

	for _, x := range []*Board{a, b} {
		heard, _, err := x.Hear(t.Context(), []string{"west"})
		if err != nil {
			t.Fatal(err)
		}

		alive := false
		for _, h := range heard {
			alive = alive || h.Process == "a" && h.At == time.Minute && h.Sightings[0].Saw == detection.Alive
		}

		if !alive || len(heard) != 2 {
			t.Errorf("%+v", heard)
		}
	}
}

// TestWhoOnlyLooksOnce: of what was there before the newest is shown, also where a voter has missed it.
func TestWhoOnlyLooksOnce(t *testing.T) {
	for _, missed := range []string{"east", "west", "witness"} {
		w := newWorld(t)

		for i, err := range []error{
			w.board().Say(t.Context(), w.vote("west", "a", detection.Alive, 1)),
			w.board(missed).Say(t.Context(), w.vote("west", "a", detection.Dead, 2)),
		} {
			if err != nil {
				t.Fatal(i, err)
			}
		}

		b := w.board()
		b.clock = func() time.Duration { return time.Duration(w.now.Add(1)) }

		heard, _, err := b.Hear(t.Context(), []string{"west"})
		if err != nil || len(heard) != 1 || heard[0].Sightings[0].Saw != detection.Dead || heard[0].At > 0 {
			t.Errorf("%s has missed it: %+v, %v", missed, heard, err)
		}
	}
}

// mum is a voter that takes what is asked of it and never answers.
type mum struct{ Store }

func (mum) Get(ctx context.Context, _ string) (io.ReadCloser, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (mum) List(ctx context.Context, _, _ string) iter.Seq2[vault.Info, error] {
	return func(yield func(vault.Info, error) bool) {
		<-ctx.Done()
		yield(vault.Info{}, ctx.Err())
	}
}

func (mum) Put(ctx context.Context, _ string, _ []byte) error {
	<-ctx.Done()
	return ctx.Err()
}

// TestOneThatIsGoneIsNotWaitedFor: a region that is cut off takes its vault along. Who waits for it
// up to the limit, to say and to hear, hears votes that are too old to count.
func TestOneThatIsGoneIsNotWaitedFor(t *testing.T) {
	w := newWorld(t)
	b := w.board()
	b.limit = time.Hour // longer than this test may take
	b.voters[0].Store = mum{b.voters[0].Store}

	done := make(chan error, 1)
	go func() {
		n, err := b.most(t.Context(), b.voters, time.Millisecond, func(ctx context.Context, v Voter) error {
			_, err := v.Store.Get(ctx, "x")
			if fail.Is(err, fail.NotFound) {
				return nil
			}

			return err
		})
		if n != 2 {
			err = errors.Join(err, fmt.Errorf("%d of 2 have answered", n))
		} else if errors.Is(err, errLate) {
			err = nil
		}

		done <- err
	}()

	if err := <-done; err != nil {
		t.Error(err)
	}

	b.limit = 2 * time.Second
	if err := b.Say(t.Context(), w.vote("east", "p1", detection.Alive, time.Second)); err != nil {
		t.Error(err)
	}

	if heard, n, _ := b.Hear(t.Context(), []string{"east"}); n != 2 || len(heard) != 1 {
		t.Errorf("%d of 2 voters have answered, %d votes were heard", n, len(heard))
	}
}
