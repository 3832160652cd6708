package section

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"drctl/internal/fail"
	"drctl/restore/machine"
	"drctl/restore/plan"
)

// steps are a switch of two shards behind one route.
func steps() plan.Outline {
	undo := func(n plan.Node) plan.Node { n.Undo = true; return n }
	node := func(id string, o plan.Op, needs ...string) plan.Node {
		return plan.Node{ID: id, Op: o, Needs: needs, Limit: time.Second, IfFails: plan.Abort, Retry: plan.Retry{Attempts: 2, Backoff: 10 * time.Millisecond}}
	}
	out := plan.Outline{Window: 10, Steps: []plan.Node{undo(node("hold-a", plan.OpReroute))}}

	for _, s := range []string{"x", "y"} {
		p := node("promote-"+s, plan.OpPromote, "drain-*", "fence-"+s)
		p.NoReturn = true
		out.Steps = append(out.Steps, undo(node("fence-"+s, plan.OpFence, "hold-a")), node("drain-"+s, plan.OpDrain, "fence-"+s), p)
	}

	out.Steps = append(out.Steps, node("switch-a", plan.OpReroute, "promote-*"), node("release-a", plan.OpReroute, "switch-a"))

	return out
}

// memory is a journal.
type memory struct {
	mu      sync.Mutex
	entries []json.RawMessage
	fails   int // the writes that do not come through, from this one on; 0 none
}

func (m *memory) Write(_ context.Context, n int, e Entry) error {
	m.mu.Lock()
	defer m.mu.Unlock()

	if m.fails > 0 && n >= m.fails {
		return fail.Newf(fail.Unavailable, "journal", "", "away")
	}

	if n != len(m.entries)+1 {
		return fail.Newf(fail.Conflict, "journal", "", "entry %d is there", n)
	}

	b, err := json.Marshal(e)
	m.entries = append(m.entries, b)

	return err
}

func (m *memory) Read(context.Context) (out []Entry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()

	for _, b := range m.entries {
		var e Entry
		err = errors.Join(err, json.Unmarshal(b, &e))
		out = append(out, e)
	}

	return out, err
}

// world is what the hands of all runs have done.
type world struct {
	t  *testing.T
	mu sync.Mutex
	// is holds what is in force: "hold-a", "fence-x", "promote-x" ...
	is      map[string]bool
	written func() bool // the journal knows of the point of no return
	rnd     *rand.Rand
	fails   float64
	dead    context.Context // of the run's process
	calls   int
	dies    int
	die     context.CancelFunc
	over    chan struct{}
}

func (w *world) stay() error {
	<-w.over
	return errors.New("dead")
}

// process is one run's way to the journal.
type process struct {
	*memory
	dead context.Context
}

func (p process) Write(ctx context.Context, n int, e Entry) error {
	if p.dead.Err() != nil {
		return p.dead.Err()
	}

	return p.memory.Write(ctx, n, e)
}

func (w *world) Prepare(context.Context) (json.RawMessage, error) {
	return json.RawMessage(`{"routes":1}`), nil
}

// turn is one call of the hands; it reports false when the process is dead.
func (w *world) turn() bool {
	w.mu.Lock()

	w.calls++
	if w.calls == w.dies {
		w.die()
	}
	d := time.Duration(w.rnd.IntN(20)) * time.Millisecond
	w.mu.Unlock()
	time.Sleep(d)

	return w.dead.Err() == nil
}

func (w *world) Do(_ context.Context, n plan.Node, k Known) (json.RawMessage, error) {
	if !w.turn() {
		return nil, w.stay() // a dead process does nothing
	}

	w.mu.Lock()
	defer w.mu.Unlock()

	if string(k.Prepared) != `{"routes":1}` {
		w.t.Errorf("%s: prepared is %s", n.ID, k.Prepared)
	}

	if w.rnd.Float64() < w.fails {
		return nil, errors.New("it failed")
	}

	if n.Op == plan.OpPromote {
		if !w.written() || !k.Past {
			w.t.Errorf("%s began and the journal does not know", n.ID)
		}

		for _, s := range []string{"x", "y"} {
			if !w.is["fence-"+s] {
				w.t.Errorf("%s began and %s is not silent", n.ID, s)
			}
		}
	}
	w.is[n.ID] = true

	return json.RawMessage(`"` + n.ID + `"`), nil
}

func (w *world) Undo(_ context.Context, n plan.Node, _ Known) error {
	if !w.turn() {
		return w.stay()
	}

	w.mu.Lock()
	defer w.mu.Unlock()

	if w.rnd.Float64() < w.fails {
		return errors.New("it failed")
	}

	if w.is["promote-x"] || w.is["promote-y"] {
		w.t.Errorf("%s was undone behind the point of no return", n.ID)
	}

	if n.ID == "hold-a" && (w.is["fence-x"] || w.is["fence-y"]) {
		w.t.Error("the route was let go before the old side could write")
	}

	delete(w.is, n.ID)

	return nil
}

// TestSchedules: a section that fails, is cancelled and dies at seeded places ends
// as done or as taken back, and never promotes what is not silent.
func TestSchedules(t *testing.T) {
	seen := map[machine.Verdict]int{}

	for seed := range uint64(1500) {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			j := &memory{}
			w := &world{t: t, is: map[string]bool{}, rnd: rnd, fails: []float64{0, 0.05, 0.3}[rnd.IntN(3)]}
			w.written = func() bool { return len(j.entries) > 1 }
			w.over = make(chan struct{})

			var wg sync.WaitGroup
			defer wg.Wait()
			defer close(w.over)

			var res Result
			for round := range 60 {
				dead, die := context.WithCancel(context.Background())

				w.mu.Lock()

				w.dead, w.die, w.calls, w.dies = dead, die, 0, 0
				if round < 3 && rnd.IntN(2) == 0 {
					w.dies = 1 + rnd.IntN(8)
				}

				w.mu.Unlock()

				ctx, cancel := context.WithCancel(context.Background())
				if round == 0 && rnd.IntN(3) == 0 {
					time.AfterFunc(time.Duration(rnd.IntN(100))*time.Millisecond, cancel)
				}

				done := make(chan error, 1)

				wg.Go(func() {
					r, err := Run(ctx, Options{Steps: steps(), Hands: w, Journal: process{j, dead}, By: "test", Log: slog.New(slog.DiscardHandler), Live: dead.Err})
					if dead.Err() == nil {
						res = r
					}

					done <- err
				})

				select {
				case <-dead.Done():
				case <-done:
				}

				cancel()

				if dead.Err() == nil && (res.Verdict == machine.Reached || res.Verdict == machine.TakenBack) {
					die()
					break
				}

				die()
			}

			seen[res.Verdict]++

			w.mu.Lock()
			defer w.mu.Unlock()

			switch res.Verdict {
			case machine.Reached:
				for _, n := range steps().Steps {
					if !w.is[n.ID] {
						t.Errorf("seed %d: reached without %s", seed, n.ID)
					}
				}
			case machine.TakenBack:
				for _, id := range []string{"hold-a", "fence-x", "fence-y", "promote-x", "promote-y"} {
					if w.is[id] {
						t.Errorf("seed %d: taken back, and %s is in force", seed, id)
					}
				}
			default:
				t.Errorf("seed %d ended %s: %+v", seed, res.Verdict, res.Steps)
			}
		})

		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}

	if seen[machine.Reached] < 200 || seen[machine.TakenBack] < 200 {
		t.Errorf("the schedules ended as %v", seen)
	}
}

// TestOfTwoOneStops: the journal takes each entry once.
func TestOfTwoOneStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &memory{}
		w := &world{t: t, is: map[string]bool{}, rnd: rand.New(rand.NewPCG(1, 1)), dead: context.Background(), written: func() bool { return len(j.entries) > 1 }}
		errs := make([]error, 2)

		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = Run(t.Context(), Options{Steps: steps(), Hands: w, Journal: j, By: "test", Log: slog.New(slog.DiscardHandler)})
			})
		}

		wg.Wait()

		if !slices.ContainsFunc(errs, func(e error) bool { return e == nil }) || !slices.ContainsFunc(errs, func(e error) bool { return fail.Is(e, fail.Conflict) }) {
			t.Errorf("%v", errs)
		}
	})
}

// TestNothingBeginsThatTheJournalDoesNotKnow: without a journal nothing is promoted.
func TestNothingBeginsThatTheJournalDoesNotKnow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &memory{fails: 2}
		w := &world{t: t, is: map[string]bool{}, rnd: rand.New(rand.NewPCG(1, 1)), dead: context.Background(), written: func() bool { return true }}

		_, err := Run(t.Context(), Options{Steps: steps(), Hands: w, Journal: j, By: "test", Log: slog.New(slog.DiscardHandler)})
		if !fail.Is(err, fail.Unavailable) || w.is["promote-x"] || w.is["promote-y"] {
			t.Errorf("%v, %v", err, w.is)
		}

		// The next run goes on from there.
		j.fails = 0

		res, err := Run(t.Context(), Options{Steps: steps(), Hands: w, Journal: j, By: "test", Log: slog.New(slog.DiscardHandler)})
		if err != nil || res.Verdict != machine.Reached {
			t.Errorf("%v: %+v", err, res)
		}
	})
}
