package gameday_test

import (
	"context"
	"errors"
	"flag"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/activities/gamedays"
	"drctl/drills"
	"drctl/drills/gameday"
	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/targets"
	"drctl/workflows/recovery"

	day "drctl/workflows/gameday"
)

var update = flag.Bool("update", false, "record the histories in testdata/replay/next again")

const (
	replayDir = "testdata/replay/next"
	limit     = 3 * time.Minute
	name      = "RunGameDay"
)

// world stands for everything that activities touch.
type world struct {
	mu    sync.Mutex
	drill gameday.Definition
	calls []string
	// says are answers to what is asked, one after the other; the last one stays.
	says map[string][]gameday.Answer
	// fails are calls that fail.
	fails map[string]error
	// hangs is a call that waits until it is cancelled.
	hangs string
	hung  chan struct{}
	// guarded is what the guard says, once it is hung; nil when it sees nothing.
	guarded *gamedays.Guarded
	shut    bool // a gate
	lost    bool // the hosts' records of what was planted
	planted map[string]time.Time
	seen    gameday.Seen
}

func (w *world) call(ctx context.Context, what string) error {
	w.mu.Lock()
	w.calls = append(w.calls, what)
	err, hangs := w.fails[what], w.hangs == what
	w.mu.Unlock()

	if hangs {
		close(w.hung)

		for ctx.Err() == nil {
			activity.RecordHeartbeat(ctx)
			time.Sleep(20 * time.Millisecond)
		}

		return ctx.Err()
	}

	return engine.EncodeError(err)
}

// answer is the next one to a question.
func (w *world) answer(what string) gameday.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()

	all := w.says[what]
	if len(all) > 1 {
		w.says[what] = all[1:]
	}

	if len(all) == 0 {
		return gameday.Answer{So: true, At: time.Now().UTC()}
	}

	return all[0]
}

func (w *world) begin(context.Context, gamedays.BeginIn) (gamedays.Begun, error) {
	return gamedays.Begun{Drill: w.drill, Hash: w.drill.Hash(), Lab: true, From: "east", To: "west", Queues: map[string]string{"east": "drctl.east", "west": "drctl.west"},
		Gates: []evidence.Precheck{{Name: gameday.GateAlone, Passed: !w.shut, At: time.Now().UTC(), Detail: "test"}}}, nil
}

func (w *world) plant(ctx context.Context, in gamedays.PlantIn) (gamedays.PlantOut, error) {
	f, _ := w.drill.Fault(in.Fault)
	out := gamedays.PlantOut{Planted: gameday.Planted{Fault: f, Intended: time.Now().UTC()}, Queue: "drctl.east"}

	if err := w.call(ctx, "plant "+in.Fault); err != nil {
		return out, err
	}
	out.Planted.Planted = time.Now().UTC()

	w.mu.Lock()
	w.planted[in.ID] = out.Planted.Planted
	w.mu.Unlock()

	return out, nil
}

func (w *world) remove(ctx context.Context, in gamedays.RemoveIn) (gameday.Planted, error) {
	if err := w.call(ctx, "remove "+in.ID[strings.LastIndex(in.ID, "-")+1:]); err != nil {
		return gameday.Planted{}, err
	}

	w.mu.Lock()
	defer w.mu.Unlock()

	at, ok := w.planted[in.ID]
	if !ok || w.lost {
		return gameday.Planted{}, nil
	}

	return gameday.Planted{Intended: at, Planted: at, Removed: time.Now().UTC(), Why: in.Why}, nil
}

func (w *world) ask(ctx context.Context, in gamedays.AskIn) (gameday.Answer, error) {
	what := "ask " + in.Kind
	return w.answer(what), w.call(ctx, what)
}

func (w *world) guard(ctx context.Context, _ gamedays.GuardIn) (gamedays.Guarded, error) {
	for ctx.Err() == nil {
		activity.RecordHeartbeat(ctx)

		select {
		case <-w.hung:
			if w.guarded != nil {
				return *w.guarded, nil
			}
		default:
		}

		time.Sleep(20 * time.Millisecond)
	}

	return gamedays.Guarded{}, ctx.Err()
}

func (w *world) finish(_ context.Context, in gamedays.FinishIn) (drills.Outcome, error) {
	w.seen = in
	rec := gameday.Record(in, gameday.Made{At: in.Finished})

	return drills.Outcome{ID: rec.ID, Passed: rec.Verdict.Passed}, nil
}

func (w *world) register(r worker.Registry) {
	for name, f := range map[string]any{gamedays.BeginName: w.begin, gamedays.PlantName: w.plant, gamedays.RemoveName: w.remove, gamedays.AskName: w.ask,
		gamedays.GuardName: w.guard, gamedays.FinishName: w.finish,
		gamedays.TellName: func(ctx context.Context, in gamedays.TellIn) error { return w.call(ctx, "tell "+in.State) }} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}

	r.RegisterWorkflowWithOptions(day.Run, workflow.RegisterOptions{Name: name})
	r.RegisterWorkflowWithOptions(func(ctx workflow.Context, in recovery.In) (recovery.Out, error) {
		begun := workflow.Now(ctx).UTC()
		if err := workflow.Sleep(ctx, 50*time.Millisecond); err != nil {
			return recovery.Out{}, err
		}

		return recovery.Out{Run: in.Run, Group: in.Group, From: in.From, To: in.To, Verdict: "reached", Started: begun, Finished: workflow.Now(ctx).UTC()}, nil
	}, workflow.RegisterOptions{Name: recovery.Name})
}

func freeze(at string) gameday.Fault {
	return gameday.Fault{ID: "1-stop", At: at, Do: gameday.Stop, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "east", Queue: "drctl.east"}
}

// scenario is a run whose history is kept.
type scenario struct {
	name   string
	change func(*world)
	cancel bool // once something hangs
	// failure is part of a failure of the record; "" when the drill passes.
	failure string
	calls   string // none of which is left out; in any order
	never   string // begins of calls that are not made
}

func scenarios() []scenario {
	two := gameday.Check{Problem: "two-primaries"}
	quiet, loud := gameday.Answer{At: time.Now().UTC()}, gameday.Answer{So: true, At: time.Now().UTC()}
	stops := func(w *world) { w.drill.Stop, w.says["ask stop"] = []gameday.Check{two}, []gameday.Answer{quiet} }

	return []scenario{
		{name: "failover", change: func(w *world) {
			stops(w)
			w.drill.Run, w.drill.Tell = "failover", []string{"/bin/true"}
			w.drill.Expect = []gameday.Check{{Verdict: "reached"}, {Exec: []string{"/bin/true"}}, {Exec: []string{"/bin/true"}, After: true}}
			late := freeze(gameday.AtStep)
			late.ID, late.Step, late.For = "2-stop", "fence-*", 10*time.Millisecond
			w.drill.Faults = append(w.drill.Faults, late)
		}, calls: "tell begins, ask stop, plant 1-stop, plant 2-stop, ask expect, ask stop, remove 0, remove 1, ask expect, tell passed"},
		{name: "red", change: func(w *world) {
			w.drill.Expect, w.drill.Red, w.says["ask red-quiet"] = nil, &two, []gameday.Answer{quiet}
		},
			calls: "ask red-quiet, plant 1-stop, ask red, remove 0"},
		{name: "red-is-on-already", change: func(w *world) { w.drill.Red = &two }, failure: "red: quiet before", never: "plant"},
		{name: "a-gate-is-shut", change: func(w *world) { w.shut = true }, failure: "gate alone", never: "plant, ask, remove"},
		{name: "a-reason-to-stop-before", change: func(w *world) { stops(w); w.says["ask stop"] = []gameday.Answer{loud} }, failure: "no reason to stop", never: "plant"},
		{name: "a-stop-nobody-can-ask", change: func(w *world) { stops(w); w.says["ask stop"] = []gameday.Answer{{Error: "no such program"}} },
			failure: "could not be asked", never: "plant"},
		{name: "a-reason-to-stop-at-the-end", change: func(w *world) { stops(w); w.says["ask stop"] = []gameday.Answer{quiet, loud} }, failure: "no reason to stop", calls: "plant 1-stop, remove 0"},
		{name: "stopped", change: func(w *world) {
			stops(w)
			w.hangs, w.guarded = "ask expect", &gamedays.Guarded{Answered: gameday.Answered{Kind: gameday.Stopped, Check: two, Answer: loud}}
		}, failure: "no reason to stop", calls: "plant 1-stop, remove 0"},
		{name: "a-recovery-goes-before-it", change: func(w *world) {
			w.hangs, w.guarded = "ask expect", &gamedays.Guarded{Yield: "a recovery of the group runs"}
		},
			failure: "a recovery of the group runs", calls: "plant 1-stop, remove 0"},
		{name: "cancelled", change: func(w *world) { w.hangs = "ask expect" }, cancel: true, failure: drills.CancelledText, calls: "plant 1-stop, remove 0"},
		{name: "cancelled-while-it-plants", change: func(w *world) { w.hangs = "plant 1-stop" }, cancel: true, failure: drills.CancelledText, calls: "plant 1-stop, remove 0", never: "ask"},
		{name: "a-fault-is-not-planted", change: func(w *world) { w.fails["plant 1-stop"] = fail.Newf(fail.NotFound, "test", "", "no server runs there") },
			failure: "no server runs there", calls: "plant 1-stop, remove 0", never: "ask"},
		{name: "a-fault-is-left", change: func(w *world) { w.fails["remove 0"] = fail.Newf(fail.Denied, "test", "", "no right to do it") }, failure: "left over", calls: "remove 0"},
		{name: "a-host-forgets", change: func(w *world) { w.lost = true }, failure: "left over", calls: "remove 0"},
	}
}

func newWorld() *world {
	return &world{says: map[string][]gameday.Answer{}, fails: map[string]error{}, planted: map[string]time.Time{}, hung: make(chan struct{}),
		drill: gameday.Definition{Name: "d", Platform: "shop", Group: "shop", Run: gameday.None, Vault: "west", Limit: time.Minute,
			Faults: []gameday.Fault{freeze(gameday.Before)}, Expect: []gameday.Check{{Exec: []string{"/bin/true"}}}}}
}

// TestGameDays runs every scenario on a real engine. With -update the histories become those that TestReplay replays.
func TestGameDays(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))
	c := enginetest.Client(t, e)

	for _, s := range scenarios() {
		w := newWorld()
		s.change(w)

		h := s.run(t, c, w)
		s.judge(t, w)

		if err := replayer().ReplayWorkflowHistory(engine.Logger(nil), h); err != nil {
			t.Errorf("%s: what was just recorded does not replay: %v", s.name, err)
		}

		if *update {
			enginetest.KeepHistory(t, filepath.Join(replayDir, s.name+".json"), h)
		}
	}
}

// judge holds what was done against what a scenario wants.
func (s scenario) judge(t *testing.T, w *world) {
	t.Helper()

	v := gameday.Record(w.seen, gameday.Made{At: w.seen.Finished}).Verdict
	if v.Passed != (s.failure == "") || !v.Passed && !slices.ContainsFunc(v.Failures, func(f string) bool { return strings.Contains(f, s.failure) }) {
		t.Errorf("%s: %q, want %q", s.name, v.Failures, s.failure)
	}

	left := slices.Clone(w.calls)
	for want := range strings.SplitSeq(s.calls, ", ") {
		i := slices.Index(left, want)
		if i < 0 && want != "" {
			t.Errorf("%s: no %q in %q", s.name, want, w.calls)
			continue
		}

		if want != "" {
			left = slices.Delete(left, i, i+1)
		}
	}

	for never := range strings.SplitSeq(s.never, ", ") {
		if never != "" && slices.ContainsFunc(w.calls, func(c string) bool { return strings.HasPrefix(c, never+" ") }) {
			t.Errorf("%s: %q in %q", s.name, never, w.calls)
		}
	}
}

func (s scenario) run(t *testing.T, c client.Client, w *world) *history.History {
	t.Helper()

	ctx, stop := context.WithTimeout(t.Context(), limit)
	defer stop()

	for _, q := range []string{"drctl.east", "drctl.west"} {
		wk := worker.New(c, q, worker.Options{MaxHeartbeatThrottleInterval: 20 * time.Millisecond, DefaultHeartbeatThrottleInterval: 20 * time.Millisecond})
		w.register(wk)

		if err := wk.Start(); err != nil {
			t.Fatal(err)
		}
		defer wk.Stop()
	}

	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "drill/" + s.name, TaskQueue: "drctl.west"}, name, day.In{Name: "d", By: "ann", Trigger: "manual", Queue: "drctl.west", Recover: "recover/" + s.name})
	if err != nil {
		t.Fatal(err)
	}

	if s.cancel {
		select {
		case <-w.hung:
		case <-ctx.Done():
			t.Fatalf("%s: nothing hangs: %q", s.name, w.calls)
		}

		if err := c.CancelWorkflow(ctx, run.GetID(), run.GetRunID()); err != nil {
			t.Fatal(err)
		}
	}

	if err := run.Get(ctx, nil); (err != nil) != s.cancel || ctx.Err() != nil {
		t.Fatalf("%s: %v: %q", s.name, errors.Join(err, ctx.Err()), w.calls)
	}
	h := &history.History{}

	for it := c.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}

	return h
}

func replayer() worker.WorkflowReplayer {
	r := worker.NewWorkflowReplayer()
	r.RegisterWorkflowWithOptions(day.Run, workflow.RegisterOptions{Name: name})

	return r
}

// TestReplay replays the recorded histories with the workflow as it is now. When one fails, runs that an older drctl
// began would be stuck after an upgrade: keep the old path with workflow.GetVersion, or, while no release holds it,
// record again with -update.
func TestReplay(t *testing.T) {
	for _, s := range scenarios() {
		if err := replayer().ReplayWorkflowHistoryFromJSONFile(engine.Logger(nil), filepath.Join(replayDir, s.name+".json")); err != nil {
			t.Errorf("%s: %v", s.name, err)
		}
	}
}
