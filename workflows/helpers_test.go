package workflows_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.temporal.io/sdk/activity"
	"go.temporal.io/sdk/testsuite"
	"go.temporal.io/sdk/worker"
	"go.temporal.io/sdk/workflow"

	"drctl/activities"
	"drctl/activities/observing"
	"drctl/drills"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/report/evidence"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

var t0 = time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)

// world stands for everything that activities touch. It records every call as
// "Name" or "Name subject", in the order in which they began.
type world struct {
	observedBy string // queue of the observer
	found      []observing.FindIn
	findErr    error
	mu         sync.Mutex
	calls      []string
	// fail makes a call fail, by its full name; a call that fails once is
	// removed by the test's own hook.
	fail map[string]error
	// hook runs inside each call, after it was recorded.
	hook func(ctx context.Context, call string) error
	// findings are the answer of a verification or of the cross-check.
	findings map[string][]targets.Finding
	noRoom   bool
	// broken is how many bases the log needs, based how many were taken; asked
	// is what each FollowShard was told.
	broken, based int
	copies        []activities.CopyIn // that FollowShard asks for until there was one
	asked         []bool
	running       int
	most          int // activities at the same time
	finished      []activities.FinishIn
	picked        []activities.PickIn
	abandons      []activities.CutIn
	kept          []activities.KeepIn
	plan          plan.Run
	settings      map[string]string // of every base
	cut           targets.Cut
	// open are the sandboxes that exist.
	open map[string]bool
}

func newWorld() *world {
	return &world{fail: map[string]error{}, findings: map[string][]targets.Finding{}, open: map[string]bool{}, plan: planOf("orders/0", "orders/1", "carts/0"), cut: cut()}
}

// call records and answers one activity.
func (w *world) call(ctx context.Context, name, subject string) error {
	full := strings.TrimSpace(name + " " + subject)

	w.mu.Lock()
	w.calls = append(w.calls, full)

	err, hook := w.fail[full], w.hook
	if err == nil {
		err = w.fail[name]
	}

	w.running++
	w.most = max(w.most, w.running)

	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()

		w.running--
	}()

	if hook != nil {
		if herr := hook(ctx, full); herr != nil {
			return engine.EncodeError(herr)
		}
	}

	return engine.EncodeError(err)
}

func (w *world) count(prefix string) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()

	for _, c := range w.calls {
		if strings.HasPrefix(c, prefix) {
			n++
		}
	}

	return n
}

func (w *world) index(t *testing.T, call string) int {
	t.Helper()

	w.mu.Lock()
	defer w.mu.Unlock()

	i := slices.Index(w.calls, call)
	if i < 0 {
		t.Fatalf("%q was not called: %v", call, w.calls)
	}

	return i
}

func (w *world) leftOpen() (ids []string) {
	w.mu.Lock()
	defer w.mu.Unlock()

	for id := range w.open {
		ids = append(ids, id)
	}

	return ids
}

// activitiesOf are trivial activities under the real names.
func (w *world) activities() map[string]any {
	step := func(ctx context.Context, name string, in activities.StepIn) (plan.StepOut, error) {
		attempt := int(activity.GetInfo(ctx).Attempt)
		op, shard, _ := strings.Cut(in.StepID, "-")
		out := plan.StepOut{StepID: in.StepID, Shard: id(shard), Op: plan.Op(op), Attempt: attempt}
		out.Started = t0.Add(time.Duration(attempt-1) * time.Hour) // as the worker of this attempt has it
		out.Finished = out.Started.Add(time.Second)
		err := engine.DecodeError(w.call(ctx, name, shard))

		w.mu.Lock()
		defer w.mu.Unlock()

		if out.Op == plan.OpVerify {
			out.Findings = w.findings[shard]
		}

		return out, engine.EncodeAttempt(err, attempt)
	}

	return map[string]any{
		observing.FindName: func(_ context.Context, in observing.FindIn) (string, error) {
			w.mu.Lock()
			defer w.mu.Unlock()

			w.found = append(w.found, in)

			return w.observedBy, engine.EncodeError(w.findErr)
		},
		activities.QuiesceCutName: func(ctx context.Context, in activities.GroupIn) (targets.Cut, error) {
			return w.cut, w.call(ctx, activities.QuiesceCutName, in.Group)
		},
		activities.SnapshotName: func(ctx context.Context, in activities.SnapshotIn) (activities.SnapshotOut, error) {
			return activities.SnapshotOut{Position: targets.Position{Kind: targets.S3, AsOf: in.AsOf, Manifest: "m-" + in.Shard.Shard},
					Stats: targets.SnapshotStats{Objects: 7, Bytes: 70}, Vaults: []string{"east"}, Warnings: []string{"1 object is not in it"}},
				w.call(ctx, activities.SnapshotName, in.Shard.String())
		},
		activities.SealCutName: func(ctx context.Context, in activities.CutIn) (targets.Cut, error) {
			in.Cut.SealedAt = t0.Add(time.Second)
			return in.Cut, w.call(ctx, activities.SealCutName, in.Cut.ID)
		},
		activities.AbandonCutName: func(ctx context.Context, in activities.CutIn) error {
			w.mu.Lock()
			w.abandons = append(w.abandons, in)
			w.mu.Unlock()
			return w.call(ctx, activities.AbandonCutName, in.Cut.ID)
		},
		activities.ShareCutsName: func(ctx context.Context, in activities.GroupIn) error {
			return w.call(ctx, activities.ShareCutsName, in.Group)
		},
		activities.TakeBaseName: func(ctx context.Context, in activities.BaseIn) (activities.BaseOut, error) {
			w.mu.Lock()
			w.based++
			w.mu.Unlock()
			return activities.BaseOut{Base: targets.Artifact{ID: in.ID, Shard: in.Shard, Settings: w.settings}, Vault: "east"}, w.call(ctx, activities.TakeBaseName, in.Shard.String())
		},
		activities.CopyVaultName: func(ctx context.Context, in activities.CopyIn) error {
			return w.call(ctx, activities.CopyVaultName, in.Shard.String()+" "+in.From+">"+in.To)
		},
		activities.FollowShardName: func(ctx context.Context, in activities.FollowIn) (activities.FollowOut, error) {
			out := activities.FollowOut{Group: "shop"}
			err := w.call(ctx, activities.FollowShardName, in.Shard.String())
			w.mu.Lock()
			defer w.mu.Unlock()
			w.asked = append(w.asked, in.BaseAsked)
			if w.based < w.broken {
				out.Break = "a hole of 7 bytes"
			}
			if !slices.ContainsFunc(w.calls, func(c string) bool { return strings.HasPrefix(c, "CopyVault") }) {
				out.Copies = w.copies
			}
			return out, err
		},
		observing.Name: func(ctx context.Context, in observing.In) (observing.Out, error) {
			return observing.Out{Queue: queueOf("host")}, w.call(ctx, observing.Name, in.Group)
		},
		activities.DescribeGroupName: func(ctx context.Context, in activities.GroupIn) (platform.Group, error) {
			return group(), w.call(ctx, activities.DescribeGroupName, in.Group)
		},
		activities.OpenSandboxName: func(ctx context.Context, in activities.SandboxIn) (activities.SandboxRef, error) {
			err := w.call(ctx, activities.OpenSandboxName, "")
			if err != nil {
				return activities.SandboxRef{}, err
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.open[in.ID] = true
			return activities.SandboxRef{ID: in.ID, Dir: "/box/" + in.ID, Queue: queueOf("host")}, nil
		},
		activities.CheckSpaceName: func(ctx context.Context, in activities.SpaceIn) (evidence.Precheck, error) {
			return evidence.Precheck{Name: "free space", At: t0, Passed: !w.noRoom, Detail: fmt.Sprintf("1 KiB free, %d B needed", in.Need)},
				w.call(ctx, activities.CheckSpaceName, "")
		},
		activities.KeepSandboxName: func(ctx context.Context, in activities.KeepIn) error {
			w.mu.Lock()
			w.kept = append(w.kept, in)
			w.mu.Unlock()
			return w.call(ctx, activities.KeepSandboxName, "")
		},
		activities.CloseSandboxName: func(ctx context.Context, in activities.SandboxRef) error {
			err := w.call(ctx, activities.CloseSandboxName, "")
			if err == nil {
				w.mu.Lock()
				delete(w.open, in.ID)
				w.mu.Unlock()
			}
			return err
		},
		activities.RestoreShardName: func(ctx context.Context, in activities.StepIn) (plan.StepOut, error) {
			return step(ctx, activities.RestoreShardName, in)
		},
		activities.VerifyShardName: func(ctx context.Context, in activities.StepIn) (plan.StepOut, error) {
			return step(ctx, activities.VerifyShardName, in)
		},
		activities.PickDrillName: func(ctx context.Context, in activities.PickIn) (activities.PickOut, error) {
			w.mu.Lock()
			w.picked = append(w.picked, in)
			w.mu.Unlock()
			return activities.PickOut{Run: plan.Carried{Ref: plan.Ref{ID: w.plan.ID, SHA256: w.plan.Sum(), Vaults: []string{"west"}}}, Order: w.plan.Outline()}, w.call(ctx, activities.PickDrillName, "")
		},
		activities.CrossCheckName: func(ctx context.Context, _ activities.CrossIn) (plan.StepOut, error) {
			err := w.call(ctx, activities.CrossCheckName, "")
			w.mu.Lock()
			defer w.mu.Unlock()
			return plan.StepOut{StepID: activities.CrossCheckStep, Started: t0, Finished: t0, Findings: w.findings["cross"]}, err
		},
		activities.FinishDrillName: func(ctx context.Context, in activities.FinishIn) (drills.Outcome, error) {
			w.mu.Lock()
			w.finished = append(w.finished, in)
			w.mu.Unlock()
			return drills.Outcome{ID: "report"}, w.call(ctx, activities.FinishDrillName, "")
		},
		activities.CheckVaultName: func(ctx context.Context, in activities.CheckIn) (activities.CheckOut, error) {
			out := activities.CheckOut{Region: in.Region, Checks: 7, Findings: w.findings["check "+in.Region]}
			for _, f := range out.Findings {
				if f.Severity == targets.Failed {
					out.Failed++
				}
			}
			return out, w.call(ctx, activities.CheckVaultName, in.Region)
		},
		activities.RetainName: func(ctx context.Context, in activities.CheckIn) (activities.RetainOut, error) {
			return activities.RetainOut{Region: in.Region}, w.call(ctx, activities.RetainName, in.Region)
		},
	}
}

func (w *world) register(r worker.ActivityRegistry) {
	for name, f := range w.activities() {
		r.RegisterActivityWithOptions(f, activity.RegisterOptions{Name: name})
	}
}

func registerWorkflows(r worker.WorkflowRegistry) {
	for name, f := range map[string]any{
		workflows.TakeCutName: workflows.TakeCut, workflows.TakeBackupName: workflows.TakeBackup, workflows.ArchiveName: workflows.Archive,
		workflows.RestoreName: workflows.Restore, workflows.RunDrillName: workflows.RunDrill, workflows.CheckName: workflows.Check,
		workflows.RetainName: workflows.Retain, workflows.ScheduledName: workflows.Scheduled, workflows.ObserveName: workflows.Observe,
	} {
		r.RegisterWorkflowWithOptions(f, workflow.RegisterOptions{Name: name})
	}
}

// env runs workflows with time skipped.
func env(t *testing.T, w *world) *testsuite.TestWorkflowEnvironment {
	t.Helper()
	var s testsuite.WorkflowTestSuite
	s.SetLogger(engine.Logger(nil))
	e := s.NewTestWorkflowEnvironment()
	e.SetStartTime(t0)
	e.SetTestTimeout(2 * time.Minute)
	registerWorkflows(e)
	w.register(e)

	return e
}

// cancelAt cancels the workflow while the nth call (from 1) runs, and reports
// which one that was. The call itself ends as a cancelled one does.
func (w *world) cancelAt(e *testsuite.TestWorkflowEnvironment, n int) (at *string) {
	at = new(string)
	k := 0
	w.hook = func(ctx context.Context, call string) error {
		w.mu.Lock()

		k++
		mine := k == n

		w.mu.Unlock()

		if !mine {
			return nil
		}
		*at = call

		e.CancelWorkflow()

		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond):
		}

		return context.Canceled
	}

	return at
}

func queueOf(region string) string { return "drctl." + region }

func id(s string) targets.ShardID {
	x, err := targets.ParseShardID(s)
	if err != nil {
		panic(err)
	}

	return x
}

func kindOf(s string) targets.Kind {
	switch {
	case strings.HasPrefix(s, "carts"):
		return targets.Redis
	case strings.HasPrefix(s, "media"):
		return targets.S3
	}

	return targets.Postgres
}

func group() platform.Group {
	g := platform.Group{Name: "shop", Home: "east", Gate: "orders/0", Queues: map[string]string{"east": queueOf("east"), "west": queueOf("west")},
		Policy: platform.Policy{SealWithin: time.Minute, Vaults: []string{"east", "west"}, Durability: 2}}
	for _, s := range []string{"orders/0", "orders/1", "orders/2", "carts/0", "media/0"} {
		g.Shards = append(g.Shards, platform.Shard{Shard: id(s), Kind: kindOf(s), Region: "east", Queue: queueOf("east")})
	}

	return g
}

func cut() targets.Cut {
	c := targets.Cut{ID: "20260314T025948.120Z-3fa9", Group: "shop", QuiescedAt: t0}
	for _, s := range group().Shards {
		c.Shards = append(c.Shards, targets.ShardPoint{Shard: s.Shard, Kind: s.Kind, Region: "east", Position: targets.Position{Kind: s.Kind, AsOf: t0}})
	}

	return c
}

// planOf restores the shards each by itself and verifies them.
func planOf(shards ...string) plan.Run {
	p := plan.Run{ID: "restore-shop-1", Goal: plan.Goal{Group: "shop", Cut: plan.Latest, Vault: "west", Into: plan.Sandbox}, Cut: cut(), Created: t0}
	for _, s := range shards {
		p.Steps = append(p.Steps, plan.Step{ID: "restore-" + s, Op: plan.OpRestore, Shard: id(s), Kind: kindOf(s), BaseBytes: 100, Limit: time.Hour})
	}

	for _, s := range shards {
		p.Steps = append(p.Steps, plan.Step{ID: "verify-" + s, Op: plan.OpVerify, Shard: id(s), Kind: kindOf(s), Needs: []string{"restore-" + s}, Limit: time.Hour})
	}

	return p
}

func drill() drills.Definition {
	return drills.Definition{Name: "nightly", Group: "shop", Cut: drills.Latest, Vault: "west"}
}

// broken is an error that no retry mends.
func broken(what string) error {
	return fail.New(fail.Corrupt, "test", what, "", errors.New("planted"))
}

func wantCode(t *testing.T, err error, code fail.Code, words ...string) {
	t.Helper()

	err = engine.DecodeError(err)
	if !fail.Is(err, code) {
		t.Fatalf("got %v (%s), want code %s", err, fail.CodeOf(err), code)
	}

	for _, w := range words {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("%q does not say %q", err, w)
		}
	}
}

func wantCanceled(t *testing.T, err error) {
	t.Helper()

	if err == nil || !errors.Is(engine.DecodeError(err), context.Canceled) {
		t.Fatalf("the workflow did not end as cancelled: %v", err)
	}
}
