package barrier

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/targets"
)

// world is a set of scripted members that watches the barrier's own rules: no
// position is named unless every member is locked, and nothing stays locked.
// Real servers are in the drivers' tests and in the consistency test.
type world struct {
	mu       sync.Mutex
	locked   map[string]bool
	open     map[string]bool
	marks    map[string]int // restore point name + shard -> count
	settled  map[string]bool
	waits    []time.Duration // that Lock was given
	problems []string
	size     int
	fault    func(call, shard string) error
	gateOnly bool
	busy     string // the shard that maintenance holds, unless that may be left out
	left     []bool // whether it might, each time that it joined
}

func (w *world) note(format string, args ...any) {
	w.problems = append(w.problems, fmt.Sprintf(format, args...))
}

type scripted struct {
	w     *world
	shard string
	id    string
}

func (w *world) Join(_ context.Context, in targets.Instance, req targets.JoinRequest) (targets.Member, error) {
	w.mu.Lock()
	defer w.mu.Unlock()

	if err := w.fault("join", in.Shard.Shard); err != nil {
		return nil, err
	}

	w.gateOnly = req.GateOnly
	if in.Shard.Shard == w.busy {
		if w.left = append(w.left, req.LeaveOut); !req.LeaveOut {
			return nil, stalled("join")
		}
	}
	w.open[in.Shard.Shard] = true

	return &scripted{w: w, shard: in.Shard.Shard, id: req.CutID}, nil
}

func (s *scripted) LockGate(_ context.Context, wait time.Duration) error {
	if s.w.gateOnly {
		s.w.waits = append(s.w.waits, wait)
	}

	return s.call("gate")
}
func (s *scripted) Lock(_ context.Context, wait time.Duration) error {
	s.w.mu.Lock()
	s.w.waits = append(s.w.waits, wait)
	s.w.mu.Unlock()

	if err := s.call("lock"); err != nil {
		return err
	}

	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.locked[s.shard] = true

	return nil
}
func (s *scripted) Unlock(context.Context) error {
	s.w.mu.Lock()
	delete(s.w.locked, s.shard)
	s.w.mu.Unlock()

	return s.call("unlock")
}
func (s *scripted) Mark(context.Context) (targets.Position, error) {
	s.w.mu.Lock()

	if len(s.w.locked) != s.w.size {
		s.w.note("%s was marked while %d of %d were locked", s.shard, len(s.w.locked), s.w.size)
	}

	k := s.id + "@" + s.shard
	if s.w.marks[k]++; s.w.marks[k] > 1 {
		s.w.note("the name %s was used twice", k)
	}

	s.w.mu.Unlock()

	return targets.Position{Kind: targets.Postgres, RestorePoint: s.id}, s.call("mark")
}
func (s *scripted) Release(context.Context) error {
	s.w.mu.Lock()
	delete(s.w.locked, s.shard)
	s.w.mu.Unlock()

	return s.call("release")
}
func (s *scripted) Settle(context.Context) error {
	err := s.call("settle")

	s.w.mu.Lock()
	defer s.w.mu.Unlock()
	s.w.settled[s.id+"@"+s.shard] = err == nil

	return err
}
func (s *scripted) Close() {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()

	delete(s.w.open, s.shard)
	delete(s.w.locked, s.shard)
}
func (s *scripted) call(name string) error {
	s.w.mu.Lock()
	defer s.w.mu.Unlock()

	return s.w.fault(name, s.shard)
}

func newWorld(n int, fault func(call, shard string) error) (*world, []Party) {
	w := &world{locked: map[string]bool{}, open: map[string]bool{}, marks: map[string]int{}, settled: map[string]bool{}, size: n, fault: fault}

	var ps []Party
	for i := range n {
		ps = append(ps, Party{Quiescer: w, Instance: targets.Instance{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: fmt.Sprint(i)}}})
	}

	return w, ps
}

func options(mode targets.BarrierMode) Options {
	return Options{Group: "shop", Mode: mode, Gate: targets.ShardID{Target: "orders", Shard: "0"},
		LockTimeout: time.Millisecond, Patience: 300 * time.Millisecond, Attempts: 6}
}

func stalled(what string) error { return fail.Newf(fail.Stalled, what, "orders/1", "scripted") }

// Whatever fails wherever, a cut is returned only when every shard has a
// position under one name and has made it durable, and afterwards nothing is
// locked or connected.
func TestWhateverFailsNothingStaysLocked(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 5).Draw(t, "shards")
		mode := rapid.SampledFrom([]targets.BarrierMode{targets.Gate, targets.Share}).Draw(t, "mode")
		script := rapid.SliceOfN(rapid.IntRange(0, 11), 0, 60).Draw(t, "faults")
		calls := 0
		w, ps := newWorld(n, func(call, _ string) error {
			calls++
			if calls > len(script) {
				return nil
			}

			switch script[calls-1] {
			case 0:
				return stalled(call)
			case 1:
				return fail.Newf(fail.Unavailable, call, "orders/1", "scripted")
			}

			return nil
		})
		opt := options(mode)
		opt.Patience = time.Millisecond
		cut, err := Take(context.Background(), ps, opt)

		if len(w.problems) > 0 {
			t.Fatal(strings.Join(w.problems, "; "))
		}

		if len(w.locked) > 0 || len(w.open) > 0 {
			t.Fatalf("left behind: locked %v, open %v", w.locked, w.open)
		}

		if err != nil {
			return
		}

		for _, p := range cut.Shards {
			if p.Position.RestorePoint != cut.ID {
				t.Fatalf("cut %s has a point named %s", cut.ID, p.Position.RestorePoint)
			}

			if !w.settled[cut.ID+"@"+p.Shard.Shard] {
				t.Fatalf("cut %s: shard %s never made its mark durable", cut.ID, p.Shard)
			}
		}

		if len(cut.Shards) != n || cut.ReleasedAt.Before(cut.QuiescedAt) {
			t.Fatalf("bad cut %+v", cut)
		}
	})
}

// A release that is not answered means that a lock may have been gone while
// the positions were named: that attempt must not become a cut.
func TestAnUnansweredReleaseIsNoCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var releases atomic.Int32
		w, ps := newWorld(3, func(call, shard string) error {
			if call == "release" && shard == "1" && releases.Add(1) == 1 {
				return fail.Newf(fail.Unavailable, "release", "orders/1", "terminated by the lease")
			}

			return nil
		})

		cut, err := Take(context.Background(), ps, options(targets.Share))
		if err != nil {
			t.Fatal(err)
		}

		if cut.Attempts != 2 {
			t.Fatalf("the first attempt's release failed, but the cut came from attempt %d", cut.Attempts)
		}

		if len(w.marks) != 6 {
			t.Fatalf("expected two sets of names, got %v", w.marks)
		}
	})
}

// A mark that was not made durable by the session that named it may have been
// lost in a crash: that attempt must not become a cut either.
func TestAMarkThatIsNotDurableIsNoCut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var settles atomic.Int32
		w, ps := newWorld(3, func(call, shard string) error {
			if call == "settle" && shard == "1" && settles.Add(1) == 1 {
				return fail.Newf(fail.Unavailable, "settle", "orders/1", "the connection broke")
			}

			return nil
		})

		cut, err := Take(context.Background(), ps, options(targets.Gate))
		if err != nil {
			t.Fatal(err)
		}

		if cut.Attempts != 2 || len(w.marks) != 6 {
			t.Fatalf("the first attempt's mark was lost, but the cut came from attempt %d with the names %v", cut.Attempts, w.marks)
		}
	})
}

// What trying again cannot mend is tried once.
func TestWhatCannotGetBetterIsTriedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, code := range []fail.Code{fail.Denied, fail.NotFound, fail.Invalid, fail.Exhausted, fail.Unsupported, fail.Internal} {
			var locks atomic.Int32
			w, ps := newWorld(3, func(call, shard string) error {
				if call == "lock" && shard == "1" {
					locks.Add(1)
					return fail.Newf(code, call, "orders/1", "scripted")
				}

				return nil
			})

			_, err := Take(context.Background(), ps, options(targets.Gate))
			if !fail.Is(err, code) || locks.Load() != 1 {
				t.Errorf("%s: %d calls of Lock, then %v", code, locks.Load(), err)
			}

			if len(w.locked) > 0 || len(w.open) > 0 {
				t.Errorf("%s: left behind: %v %v", code, w.locked, w.open)
			}
		}
	})
}

// A table that is not granted at once costs short waits, in the pauses between
// which every shard's tables are free while the gate stays held.
func TestShortWaitsUnderTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var w *world
		gates, tries := 0, 0
		w, ps := newWorld(3, func(call, shard string) error {
			switch {
			case call == "gate":
				gates++
			case call == "lock" && shard == "1":
				if tries++; tries < 4 {
					return stalled("lock tables")
				}
			}

			return nil
		})
		opt := options(targets.Gate)
		opt.LockTimeout, opt.Budget = 10*time.Millisecond, time.Second

		cut, err := Take(context.Background(), ps, opt)
		if err != nil {
			t.Fatal(err)
		}

		if cut.Attempts != 1 || gates != 1 || cut.LockTries != 4 {
			t.Errorf("%d attempts, the gate was taken %d times, the tables %d times", cut.Attempts, gates, cut.LockTries)
		}

		for _, wait := range w.waits {
			if wait > opt.LockTimeout {
				t.Errorf("waits of %v with a lock time-out of %s", w.waits, opt.LockTimeout)
				break
			}
		}
	})
}

func TestErrorsNameTheShard(t *testing.T) {
	for name, c := range map[string]struct {
		fault func(call, shard string) error
		code  fail.Code
	}{
		"a shard that is down": {func(call, shard string) error {
			if call == "join" && shard == "1" {
				return fail.Newf(fail.Unavailable, "connect", "orders/1 (127.0.0.1:1)", "connection refused")
			}
			return nil
		}, fail.Unavailable},
		"a lock that is never granted": {func(call, shard string) error {
			if call == "lock" && shard == "1" {
				return stalled("lock tables")
			}
			return nil
		}, fail.Stalled},
		"a long transaction": {func(call, shard string) error {
			if call == "join" && shard == "1" {
				return stalled("join")
			}
			return nil
		}, fail.Stalled},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w, ps := newWorld(3, c.fault)

				_, err := Take(context.Background(), ps, options(targets.Gate))
				if !fail.Is(err, c.code) || !strings.Contains(err.Error(), "orders/1") {
					t.Fatalf("got %v (%s)", err, fail.CodeOf(err))
				}

				if len(w.locked) > 0 || len(w.open) > 0 {
					t.Fatalf("left behind: %v %v", w.locked, w.open)
				}
			})
		})
	}
}

func TestCancelledWhileWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(context.Background())

		w, ps := newWorld(2, func(call, _ string) error {
			if call == "lock" {
				cancel()
				return stalled("lock")
			}

			return nil
		})
		if _, err := Take(ctx, ps, options(targets.Share)); !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}

		if len(w.locked) > 0 || len(w.open) > 0 {
			t.Fatalf("left behind: %v %v", w.locked, w.open)
		}
	})
}
