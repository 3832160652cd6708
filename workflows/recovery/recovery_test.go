package recovery_test

import (
	"context"
	"encoding/json"
	"flag"
	"os"
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

	"drctl/activities/actions"
	"drctl/activities/approving"
	"drctl/activities/section"
	"drctl/internal/approval"
	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/restore/failover"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows/recovery"
)

var update = flag.Bool("update", false, "record the histories in testdata/replay/next again")

const (
	replayDir = "testdata/replay/next"
	limit     = 3 * time.Minute
)

// world stands for everything that activities touch.
type world struct {
	mu    sync.Mutex
	calls []string
	given map[string]actions.Call // the last call of a step
	// fails are steps that fail, and how often; -1 is always.
	fails map[string]int
	// verdict is how sections end.
	verdict machine.Verdict
	// hangs is a step that waits until it is cancelled.
	hangs string
	hung  chan struct{}
	// people may approve.
	people []approval.Person
}

func newWorld() *world {
	return &world{given: map[string]actions.Call{}, fails: map[string]int{}, verdict: machine.Reached, hung: make(chan struct{})}
}

func (w *world) call(ctx context.Context, name string, c actions.Call) error {
	w.mu.Lock()
	w.calls = append(w.calls, name+" "+c.Step)
	w.given[c.Step] = c
	n := w.fails[c.Step]

	if n > 0 && name == "do" {
		w.fails[c.Step]--
	}

	w.mu.Unlock()

	if w.hangs == c.Step && name == "do" {
		close(w.hung)

		for ctx.Err() == nil {
			activity.RecordHeartbeat(ctx)
			time.Sleep(20 * time.Millisecond)
		}
	}

	if n != 0 && name == "do" {
		return engine.EncodeError(fail.Newf(fail.Unverified, "test", c.Step, "planted"))
	}

	return nil
}

func (w *world) called(what string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()

	return slices.Contains(w.calls, what)
}

func (w *world) register(r worker.Registry) {
	for name, f := range map[string]any{
		actions.BeginName: func(context.Context, actions.BeginIn) (actions.Begun, error) { return actions.Begun{Epoch: 7}, nil },
		actions.DoName: func(ctx context.Context, c actions.Call) (actions.Done, error) {
			return actions.Done{Out: json.RawMessage(`{"of":"` + c.Step + `"}`), Said: "done"}, w.call(ctx, "do", c)
		},
		actions.EndName: func(_ context.Context, in actions.EndIn) error {
			return w.call(context.Background(), "end", actions.Call{Step: in.Run})
		},
		approving.Name: func(_ context.Context, in approving.In) (approving.Out, error) {
			if in.Glass {
				return approving.Out{Signed: true, Broken: true}, w.call(context.Background(), "glass", actions.Call{Step: in.Step})
			}

			return in.Judge(w.people, 2), nil
		},
		actions.UndoName: func(ctx context.Context, c actions.Call) error { return w.call(ctx, "undo", c) },
		actions.SectionName: func(ctx context.Context, c actions.Call) (section.Result, error) {
			err := w.call(ctx, "do", c)
			if w.hangs == c.Step {
				return section.Result{Verdict: machine.TakenBack}, nil
			}

			return section.Result{Verdict: w.verdict, Steps: []section.StepResult{{ID: "promote-orders/0", Status: machine.Done}}}, err
		},
	} {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}

	r.RegisterWorkflowWithOptions(recovery.Run, workflow.RegisterOptions{Name: recovery.Name})
}

// input is a derived plan of one shard behind a route.
func input(t *testing.T, m plan.Mode, people int) recovery.In {
	t.Helper()

	top := failover.Topology{Group: "shop", Regions: []string{"east", "west"}, Routes: []failover.Route{{Name: "pool", For: []string{"orders"}, Holds: true}},
		Shards: []failover.Shard{{ID: targets.ShardID{Target: "orders", Shard: "0"}, Kind: targets.Postgres, Regions: []string{"east", "west"}}}}

	d, err := failover.Derive(top, failover.Policy{From: "east", To: "west", Resolve: plan.ResolveList, People: people}, m)
	if err != nil {
		t.Fatal(err)
	}

	return recovery.In{Run: "r", By: "ann", Group: "shop", Plan: plan.Ref{ID: "p", SHA256: d.Hash(), Vaults: []string{"west"}}, Mode: m, From: "east", To: "west",
		Order: d.Outline(m).Folded(), Queues: map[string]string{"east": "drctl.east", "west": "drctl.west"}}
}

// scenario is a run whose history is kept.
type scenario struct {
	name    string
	mode    plan.Mode
	prepare func(*world)
	// replies are what people say to a step when it asks.
	replies map[string][]recovery.Reply
	cancel  bool // once something hangs
	// approve has people approve a run.
	approve func(*testing.T, *world, func(recovery.Reply) recovery.Given, recovery.Step)
	want    machine.Verdict
	check   func(*testing.T, *world, recovery.Out)
}

func scenarios(t *testing.T) []scenario {
	t.Helper()

	never := func(what ...string) func(*testing.T, *world, recovery.Out) {
		return func(t *testing.T, w *world, o recovery.Out) {
			for _, s := range what {
				if w.called(s) {
					t.Errorf("%q was called", s)
				}
			}
		}
	}

	return []scenario{
		{"switchover", plan.ModeSwitchover, nil, nil, false, nil, machine.Reached, func(t *testing.T, w *world, o recovery.Out) {
			if o.Epoch != 7 || !o.Past || w.given["switch"].Epoch != 7 || string(w.given["switch"].Outs["routes"]) != `{"of":"routes"}` {
				t.Errorf("%+v, %+v", o, w.given["switch"])
			}
		}},
		{"switchover-not-ready", plan.ModeSwitchover, func(w *world) { w.fails["ready-orders/0"] = -1 }, nil, false, nil, machine.TakenBack, never("do switch")},
		{"switchover-tried-again", plan.ModeSwitchover, func(w *world) { w.fails["ready-orders/0"] = 1 }, nil, false, nil, machine.Reached, nil},
		{"switchover-taken-back", plan.ModeSwitchover, func(w *world) { w.verdict = machine.TakenBack }, nil, false, nil, machine.TakenBack, never("do verify-orders/0", "do rejoin-orders/0")},
		{"switchover-cancelled-in-the-section", plan.ModeSwitchover, func(w *world) { w.hangs = "switch" }, nil, true, nil, machine.TakenBack, never("do verify-orders/0")},
		{"failover-vouched", plan.ModeFailover, func(w *world) { w.fails["fence-orders/0"] = -1 }, map[string][]recovery.Reply{"fence-orders/0": {
			{Answer: machine.SaySkip, By: "ann", Reason: "no time"}, {Answer: machine.SayVouch, By: "bob"}, {Answer: machine.SayVouch, By: "ann", Reason: "power is off"}}}, false, nil, machine.Reached,
			func(t *testing.T, w *world, o recovery.Out) {
				if got := w.given["takeover"].Waived["fence-orders/0"]; got != "ann: power is off" {
					t.Errorf("vouched: %q", got)
				}

				if len(o.Answers) != 3 || o.Answers[0].Taken || o.Answers[1].Taken || !o.Answers[2].Taken {
					t.Errorf("a proof cannot be skipped, and a word needs a reason: %+v", o.Answers)
				}
			}},
		{"failover-given-up", plan.ModeFailover, func(w *world) { w.fails["fence-orders/0"] = -1 }, map[string][]recovery.Reply{"fence-orders/0": {
			{Answer: machine.SayGiveUp, By: "ann", Reason: "the east is back"}}}, false, nil, machine.TakenBack, func(t *testing.T, w *world, o recovery.Out) {
			never("do takeover")(t, w, o)

			if !w.called("undo isolate-pool") {
				t.Errorf("clients are still kept away: %v", w.calls)
			}
		}},
		{"switchover-approved", plan.ModeSwitchover, keyholders(t), nil, false, twoApprove, machine.Reached, func(t *testing.T, w *world, o recovery.Out) {
			if s := o.Steps[slices.IndexFunc(o.Steps, func(x recovery.Step) bool { return x.ID == "approve" })]; strings.Join(s.Agreed, " ") != "ann bob" {
				t.Errorf("agreed: %v", s.Agreed)
			}
		}},
		{"switchover-glass-broken", plan.ModeSwitchover, keyholders(t), nil, false, breaks, machine.Reached, func(t *testing.T, w *world, o recovery.Out) {
			if !w.called("glass approve") {
				t.Errorf("it is on no list: %v", w.calls)
			}
		}},
	}
}

// TestRuns runs every scenario on a real engine. With -update the histories become
// those that TestReplay replays.
func TestRuns(t *testing.T) {
	e := enginetest.Start(t, enginetest.Options(t))

	c, err := engine.Dial(context.Background(), engine.Options{Address: e.Address, Namespace: e.Namespace, Dir: e.Dir, Identity: "recorder", Timeout: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	for _, s := range scenarios(t) {
		w := newWorld()
		if s.prepare != nil {
			s.prepare(w)
		}

		o, h := s.run(t, c, w)
		if o.Verdict != s.want {
			t.Errorf("%s: %s, want %s: %+v", s.name, o.Verdict, s.want, o.Steps)
		}

		if s.check != nil {
			t.Run(s.name, func(t *testing.T) { s.check(t, w, o) })
		}

		if err := replayer().ReplayWorkflowHistory(engine.Logger(nil), h); err != nil {
			t.Errorf("%s: what was just recorded does not replay: %v", s.name, err)
		}

		if *update {
			enginetest.KeepHistory(t, filepath.Join(replayDir, s.name+".json"), h)
		}
	}
}

func (s scenario) run(t *testing.T, c client.Client, w *world) (out recovery.Out, h *history.History) {
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

	run, err := c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "recover/" + s.name, TaskQueue: "drctl.west"}, recovery.Name, input(t, s.mode, s.people()))
	if err != nil {
		t.Fatal(err)
	}

	if s.cancel {
		select {
		case <-w.hung:
		case <-ctx.Done():
			t.Fatalf("%s: nothing hangs", s.name)
		}

		if err := c.CancelWorkflow(ctx, run.GetID(), run.GetRunID()); err != nil {
			t.Fatal(err)
		}
	}

	if s.approve != nil {
		s.approved(ctx, t, c, run, w)
	}

	for step, replies := range s.replies {
		s.reply(ctx, t, c, run, step, replies)
	}

	if err := run.Get(ctx, &out); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}

	h = &history.History{}
	for it := c.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT); it.HasNext(); {
		e, err := it.Next()
		if err != nil {
			t.Fatal(err)
		}
		h.Events = append(h.Events, e)
	}

	return out, h
}

// reply waits until a step asks, and says one thing after the other.
func (s scenario) reply(ctx context.Context, t *testing.T, c client.Client, run client.WorkflowRun, step string, replies []recovery.Reply) {
	t.Helper()

	state := func() (o recovery.Out) {
		if v, err := c.QueryWorkflow(ctx, run.GetID(), run.GetRunID(), recovery.State); err == nil {
			_ = v.Get(&o)
		}

		return o
	}
	until := func(f func(recovery.Out) bool) {
		for !f(state()) {
			if ctx.Err() != nil {
				t.Fatalf("%s: %s never asks, or never hears", s.name, step)
			}

			time.Sleep(20 * time.Millisecond)
		}
	}
	until(func(o recovery.Out) bool {
		return slices.ContainsFunc(o.Steps, func(x recovery.Step) bool { return x.ID == step && x.Question == machine.AskFailed })
	})

	for i, r := range replies {
		r.Step = step
		if err := c.SignalWorkflow(ctx, run.GetID(), run.GetRunID(), recovery.Answer, r); err != nil {
			t.Fatal(err)
		}

		until(func(o recovery.Out) bool { return len(o.Answers) > i })
	}
}

func replayer() worker.WorkflowReplayer {
	r := worker.NewWorkflowReplayer()
	r.RegisterWorkflowWithOptions(recovery.Run, workflow.RegisterOptions{Name: recovery.Name})

	return r
}

// TestReplay replays the recorded histories with the workflow as it is now. When one
// fails, runs that an older drctl began would be stuck after an upgrade.
func TestReplay(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(replayDir, "*.json"))
	if err != nil || len(files) != len(scenarios(t)) {
		t.Fatalf("%d histories for %d scenarios (%v); record them with -run TestRuns -update", len(files), len(scenarios(t)), err)
	}

	for _, f := range files {
		if err := replayer().ReplayWorkflowHistoryFromJSONFile(engine.Logger(nil), f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// A history in which another activity ran is refused: the replay looks at what it says.
func TestReplayFindsAChange(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(replayDir, "switchover.json"))
	if err != nil {
		t.Fatal(err)
	}

	h, err := client.HistoryFromJSON(strings.NewReader(strings.Replace(string(b), `"`+actions.SectionName+`"`, `"RunSectionV2"`, 1)), client.HistoryJSONOptions{})
	if err != nil {
		t.Fatal(err)
	}

	if err := replayer().ReplayWorkflowHistory(engine.Logger(nil), h); err == nil {
		t.Error("a history with another activity replays")
	}
}
