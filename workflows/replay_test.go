package workflows_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"go.temporal.io/api/enums/v1"
	"go.temporal.io/api/history/v1"
	"go.temporal.io/sdk/client"
	"go.temporal.io/sdk/worker"

	"drctl/activities/observing"
	"drctl/internal/engine"
	"drctl/internal/engine/enginetest"
	"drctl/internal/fail"
	"drctl/targets"
	"drctl/workflows"
)

var update = flag.Bool("update", false, "record the histories in testdata/replay again")

// Histories are kept per release, in a folder each, and never changed: the runs
// that a release began must go on with every later drctl. Those of the next
// release are in replayDir and may be recorded again until it is out.
const (
	replayRoot = "testdata/replay"
	replayDir  = replayRoot + "/next"
	sumsFile   = "SHA256SUMS"
)

// scenario is a run whose history is kept.
type scenario struct {
	name     string // of the file
	workflow string
	in       any
	prepare  func(*world)
	cancelAt string // the call during which it is cancelled: "FollowShard#6" is the sixth
	fails    bool
}

func scenarios() []scenario {
	finding := []targets.Finding{{Check: "pg_amcheck", Subject: "orders/0", Severity: targets.Failed}}
	kept := drillIn()
	kept.KeepFailed = time.Hour
	discard := restoreIn(planOf("orders/0", "orders/1"))
	discard.Discard = true
	g := group()
	g.Policy.SealWithin = 2 * time.Second
	none := func(*world) {}

	return []scenario{
		{"cut-sealed", workflows.TakeCutName, workflows.TakeCutIn{Group: group()}, none, "", false},
		{"cut-abandoned", workflows.TakeCutName, workflows.TakeCutIn{Group: g}, func(w *world) {
			w.fail["SealCut"] = fail.New(fail.Unavailable, "cut: seal", "orders/1", "", errors.New("the stream ends before the point"))
		}, "", true},
		{"cut-fence-failed", workflows.TakeCutName, workflows.TakeCutIn{Group: group()}, func(w *world) { w.fail["FenceCut"] = broken("orders/1") }, "", true},
		{"cut-cancelled", workflows.TakeCutName, workflows.TakeCutIn{Group: group()}, none, "SealCut", true},
		{"backup-one-shard-failed", workflows.TakeBackupName, workflows.TakeBackupIn{Group: group(), Window: 2}, func(w *world) { w.fail["TakeBase orders/1"] = broken("orders/1") }, "", false},
		{"backup-cancelled", workflows.TakeBackupName, workflows.TakeBackupIn{Group: group(), Window: 1}, none, "CopyVault", true},
		{"archive-cancelled", workflows.ArchiveName, archiveIn(), func(w *world) {
			n := 0
			w.hook = func(context.Context, string) error {
				if n++; n == 2 {
					return fail.New(fail.Unavailable, "follow", "orders/0", "", errors.New("connection refused"))
				}

				return nil
			}
		}, "FollowShard#6", true},
		{"archive-cancelled-while-waiting", workflows.ArchiveName, archiveIn(), func(w *world) { w.fail["FollowShard"] = broken("orders/0") }, "wait", true},
		{"archive-interrupted", workflows.ArchiveName, archiveIn(), func(w *world) { w.broken = 1 }, "FollowShard#6", true},
		// It goes on where it was, falls back when that host is gone, and goes on there again.
		{"observe-cancelled", workflows.ObserveName, shopObserved, func(w *world) {
			n := 0
			w.hook = func(context.Context, string) error {
				if n++; n == 3 {
					return fail.Newf(fail.Unavailable, "worker", "", "the worker is stopping")
				}

				return nil
			}
		}, "ObserveGroup#5", true},
		{"observe-cancelled-while-waiting", workflows.ObserveName, shopObserved, func(w *world) { w.fail[observing.Name] = broken("shop") }, "wait", true},
		{"restore", workflows.RestoreName, restoreIn(planOf("orders/0", "orders/1", "carts/0")), func(w *world) { w.findings["orders/0"] = finding }, "", false},
		{"restore-step-failed", workflows.RestoreName, discard, func(w *world) { w.fail["RestoreShard orders/1"] = broken("chunk x") }, "", false},
		{"restore-refused", workflows.RestoreName, restoreIn(planOf("orders/0")), func(w *world) { w.noRoom = true }, "", true},
		{"restore-cancelled", workflows.RestoreName, restoreIn(planOf("orders/0", "orders/1")), none, "RestoreShard", true},
		{"drill-passed", workflows.RunDrillName, drillIn(), none, "", false},
		{"drill-finding-kept", workflows.RunDrillName, kept, func(w *world) { w.findings["cross"] = finding }, "", false},
		{"drill-no-plan", workflows.RunDrillName, drillIn(), func(w *world) { w.fail["PickDrill"] = broken("cut x") }, "", false},
		{"drill-cancelled", workflows.RunDrillName, drillIn(), none, "VerifyShard", true},
		{"check", workflows.CheckName, workflows.CheckAllIn{Group: group(), ReadData: "1/7"}, none, "", false},
		{"check-failed", workflows.CheckName, workflows.CheckAllIn{Group: group()}, func(w *world) { w.fail["CheckVault west"] = broken("vault of west") }, "", true},
		{"retain", workflows.RetainName, workflows.CheckAllIn{Group: group()}, none, "", false},
		{"scheduled", workflows.ScheduledName, workflows.ScheduledIn{ID: "check/shop", Workflow: workflows.CheckName, Queue: queueOf("east"),
			Input: json.RawMessage(`{"group":{"name":"shop","policy":{"vaults":["east"]},"queues":{"east":"drctl.east"}}}`)}, none, "", false},
	}
}

// TestRecordHistories runs every scenario on a real engine. With -update the
// histories become those that TestReplay replays.
func TestRecordHistories(t *testing.T) {
	r := newRealEngine(t)

	seen := map[string]bool{}
	for _, s := range scenarios() {
		w := newWorld()
		s.prepare(w)

		h, err := r.run(t, w, s)
		if (err != nil) != s.fails {
			t.Errorf("%s: %v", s.name, err)
		}

		if strings.Contains(s.name, "cancelled") {
			wantCanceled(t, err)
		}

		if len(w.leftOpen()) > 0 && s.name != "restore" && s.name != "drill-finding-kept" {
			t.Errorf("%s: a sandbox is left over: %v", s.name, w.calls)
		}

		seen[s.workflow] = true
		if err := replay(h); err != nil {
			t.Errorf("%s: what was just recorded does not replay: %v", s.name, err)
		}

		if *update {
			enginetest.KeepHistory(t, filepath.Join(replayDir, s.name+".json"), h)
		}
	}

	for _, name := range []string{workflows.TakeCutName, workflows.TakeBackupName, workflows.ArchiveName, workflows.RestoreName, workflows.RunDrillName,
		workflows.CheckName, workflows.RetainName, workflows.ScheduledName, workflows.ObserveName} {
		if !seen[name] {
			t.Errorf("no history of %s is recorded", name)
		}
	}
}

func replayer() worker.WorkflowReplayer {
	r := worker.NewWorkflowReplayer()
	registerWorkflows(r)

	return r
}

func replay(h *history.History) error { return replayer().ReplayWorkflowHistory(engine.Logger(nil), h) }

// TestReplay replays the recorded histories with the workflows as they are
// now. When one fails, runs that an older drctl began would be stuck after an
// upgrade: keep the old path with workflow.GetVersion, or, while no release
// holds it, record again with -update.
func TestReplay(t *testing.T) {
	next, err := filepath.Glob(filepath.Join(replayDir, "*.json"))
	if err != nil || len(next) < len(scenarios()) {
		t.Fatalf("%d histories for %d scenarios (%v); record them with -run TestRecordHistories -update", len(next), len(scenarios()), err)
	}

	files, err := filepath.Glob(filepath.Join(replayRoot, "*", "*.json"))
	if err != nil {
		t.Fatal(err)
	}

	for _, f := range files {
		if err := replayer().ReplayWorkflowHistoryFromJSONFile(engine.Logger(nil), f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// unchanged compares the histories of a release with the sums that were made when
// it went out (sha256sum *.json >SHA256SUMS).
func unchanged(dir string) error {
	sums, err := os.ReadFile(filepath.Join(dir, sumsFile))
	if err != nil {
		return err
	}

	want := map[string]string{}
	for line := range strings.Lines(string(sums)) {
		if f := strings.Fields(line); len(f) == 2 {
			want[f[1]] = f[0]
		}
	}

	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil {
		return err
	}

	if len(files) != len(want) || len(want) == 0 {
		return fmt.Errorf("%s: %d histories, %d sums", dir, len(files), len(want))
	}

	for _, f := range files {
		b, err := os.ReadFile(f)
		if err != nil {
			return err
		}

		if got := fmt.Sprintf("%x", sha256.Sum256(b)); got != want[filepath.Base(f)] {
			return fmt.Errorf("%s was changed after its release", f)
		}
	}

	return nil
}

// TestReleasedHistoriesStay: nobody rewrites the past to make a replay pass.
func TestReleasedHistoriesStay(t *testing.T) {
	dirs, err := os.ReadDir(replayRoot)
	if err != nil {
		t.Fatal(err)
	}

	for _, d := range dirs {
		dir := filepath.Join(replayRoot, d.Name())
		if dir == replayDir {
			continue
		}

		if err := unchanged(dir); err != nil {
			t.Error(err)
		}
	}

	// The check finds a change, a loss and an addition.
	dir := t.TempDir()
	put := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	put("a.json", "{}")
	put(sumsFile, fmt.Sprintf("%x  a.json\n", sha256.Sum256([]byte("{}"))))

	if err := unchanged(dir); err != nil {
		t.Fatal(err)
	}

	put("a.json", "{ }")

	if unchanged(dir) == nil {
		t.Error("a changed history is not found")
	}

	put("a.json", "{}")
	put("b.json", "{}")

	if unchanged(dir) == nil {
		t.Error("an added history is not found")
	}

	for _, name := range []string{"a.json", "b.json"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}

	if unchanged(dir) == nil {
		t.Error("a lost history is not found")
	}
}

// A history in which another activity ran, or a step is missing, is refused:
// the replay looks at what it says it does.
func TestReplayFindsAChangedWorkflow(t *testing.T) {
	for file, swap := range map[string][2]string{
		"cut-sealed":   {`"SealCut"`, `"SealCutV2"`},
		"drill-passed": {`"CrossCheck"`, `"VerifyShard"`},
		"restore":      {`"CheckSpace"`, `"RestoreShard"`},
	} {
		b, err := os.ReadFile(filepath.Join(replayDir, file+".json"))
		if err != nil {
			t.Fatal(err)
		}

		if !bytes.Contains(b, []byte(swap[0])) {
			t.Fatalf("%s does not hold %s", file, swap[0])
		}

		h, err := client.HistoryFromJSON(bytes.NewReader(bytes.Replace(b, []byte(swap[0]), []byte(swap[1]), 1)), client.HistoryJSONOptions{})
		if err != nil {
			t.Fatal(err)
		}

		if err := replay(h); err == nil {
			t.Errorf("%s with %s replays", file, swap[1])
		}
	}
}

// realEngine is an engine of its own with workers of every queue.
type realEngine struct{ c client.Client }

func newRealEngine(t *testing.T) realEngine {
	t.Helper()
	e := enginetest.Start(t, enginetest.Options(t))

	c, err := engine.Dial(context.Background(), engine.Options{Address: e.Address, Namespace: e.Namespace, Dir: e.Dir, Identity: "recorder", Timeout: 2 * time.Minute})
	if err != nil {
		t.Fatal(err)
	}

	t.Cleanup(c.Close)

	return realEngine{c}
}

// worker serves a region's queue.
func (r realEngine) worker(t *testing.T, w *world, region string) worker.Worker {
	t.Helper()
	// Heartbeats that are not held back: cancellations arrive with them.
	wk := worker.New(r.c, queueOf(region), worker.Options{MaxHeartbeatThrottleInterval: 20 * time.Millisecond, DefaultHeartbeatThrottleInterval: 20 * time.Millisecond})
	registerWorkflows(wk)
	w.register(wk)

	if err := wk.Start(); err != nil {
		t.Fatal(err)
	}

	return wk
}

// serve runs workers of every queue until the returned function is called.
func (r realEngine) serve(t *testing.T, w *world) (stop func()) {
	t.Helper()

	var ws []worker.Worker
	for _, q := range []string{"east", "west", "host", "east/archive", "east/sandbox", "west/sandbox"} {
		ws = append(ws, r.worker(t, w, q))
	}

	return func() {
		for _, wk := range ws {
			wk.Stop()
		}
	}
}

// run runs a scenario to its end and returns its history and outcome.
func (r realEngine) run(t *testing.T, w *world, s scenario) (*history.History, error) {
	t.Helper()

	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	begun := make(chan struct{})
	prepared := w.hook

	name, nth := s.cancelAt, int64(1)
	if at, n, ok := strings.Cut(s.cancelAt, "#"); ok {
		name = at

		var err error
		if nth, err = strconv.ParseInt(n, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	var called atomic.Int64 // the world's own count may be past nth before anybody looks

	w.hook = func(ctx context.Context, call string) error {
		if prepared != nil {
			if err := prepared(ctx, call); err != nil {
				return err
			}
		}

		if name == "" || !strings.HasPrefix(call, name) || called.Add(1) != nth {
			return nil
		}

		close(begun)

		return beatUntil(ctx)
	}
	defer r.serve(t, w)()

	run, err := r.c.ExecuteWorkflow(ctx, client.StartWorkflowOptions{ID: "scenario/" + s.name, TaskQueue: queueOf("east")}, s.workflow, s.in)
	if err != nil {
		t.Fatal(err)
	}

	if s.cancelAt != "" {
		if s.cancelAt == "wait" {
			time.Sleep(700 * time.Millisecond)
		} else {
			select {
			case <-begun:
			case <-ctx.Done():
				t.Fatalf("%s: %s never began: %v", s.name, s.cancelAt, w.calls)
			}
		}

		if err := r.c.CancelWorkflow(ctx, run.GetID(), run.GetRunID()); err != nil {
			t.Fatal(err)
		}
	}

	err = run.Get(ctx, nil)
	if ctx.Err() != nil {
		t.Fatalf("%s does not end: %v", s.name, w.calls)
	}
	h := &history.History{}

	it := r.c.GetWorkflowHistory(ctx, run.GetID(), run.GetRunID(), false, enums.HISTORY_EVENT_FILTER_TYPE_ALL_EVENT)
	for it.HasNext() {
		ev, herr := it.Next()
		if herr != nil {
			t.Fatal(herr)
		}
		h.Events = append(h.Events, ev)
	}

	return h, err
}
