package activities

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.temporal.io/sdk/testsuite"

	"drctl/drills"
	"drctl/drills/debrief"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/platform"
	"drctl/internal/progress"
	"drctl/internal/report"
	"drctl/internal/report/evidence"
	"drctl/internal/sandbox"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

var t0 = time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

// drillPlatform is a group with two vaults, of which some are out of reach.
type drillPlatform struct {
	vaults map[string]*vault.Vault
	down   map[string]error
}

func (p *drillPlatform) Group(name string) (platform.Group, error) {
	if name != "shop" {
		return platform.Group{}, fail.Newf(fail.NotFound, "configuration", name, "there is no group of this name")
	}

	return platform.Group{Name: "shop", Home: "east", Shards: []platform.Shard{{Shard: shardOf("orders/0"), Kind: targets.Postgres}},
		Policy: platform.Policy{Vaults: []string{"east", "west"}, Durability: 2, CutEvery: time.Minute, BaseEvery: 24 * time.Hour, ChunkAge: time.Second}}, nil
}
func (p *drillPlatform) Instance(context.Context, targets.ShardID, string) (targets.Instance, error) {
	return targets.Instance{Kind: targets.Postgres, Shard: shardOf("orders/0"), Region: "east", Address: "10.0.0.1:5432"}, nil
}
func (p *drillPlatform) Regions(targets.ShardID) []string { return []string{"east"} }
func (p *drillPlatform) Vault(_ context.Context, region string) (*vault.Vault, error) {
	if err := p.down[region]; err != nil {
		return nil, err
	}

	return p.vaults[region], nil
}
func (p *drillPlatform) Set(ctx context.Context, _, region string) (vault.Set, error) {
	s := vault.Set{Durability: 1}
	for _, r := range []string{"west", "east"} {
		if v, err := p.Vault(ctx, r); err == nil {
			s.Vaults = append(s.Vaults, v)
		}
	}

	if len(s.Vaults) == 0 {
		return s, fail.Newf(fail.Unavailable, "open the vaults", region, "none answers")
	}

	return s, nil
}
func (p *drillPlatform) GroupOf(targets.ShardID) (string, error) { return "shop", nil }

func shardOf(s string) targets.ShardID {
	id, err := targets.ParseShardID(s)
	if err != nil {
		panic(err)
	}

	return id
}

type finisher struct {
	a    *Activities
	p    *drillPlatform
	dirs map[string]string
	ran  map[string]debrief.Ran
}

func newFinisher(t *testing.T) finisher {
	t.Helper()

	key, err := vault.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	f := finisher{p: &drillPlatform{vaults: map[string]*vault.Vault{}, down: map[string]error{}}, dirs: map[string]string{}}

	id := ""
	for _, r := range []string{"east", "west"} {
		f.dirs[r] = filepath.Join(t.TempDir(), r)

		v, err := vault.Init(context.Background(), vault.Options{Region: r, Key: key, Set: id, Location: vault.Location{URL: "file://" + f.dirs[r]}})
		if err != nil {
			t.Fatal(err)
		}
		id = v.SetID()
		f.p.vaults[r] = v
	}
	f.a = &Activities{Platform: f.p, StateDir: t.TempDir(), SandboxRoot: t.TempDir(), HostQueue: "host", Version: "1", Log: slog.New(slog.DiscardHandler)}

	return f
}

// finish runs the activity as the engine's nth attempt.
func (f finisher) finish(t *testing.T, in FinishIn, attempt int) (drills.Outcome, error) {
	t.Helper()
	var s testsuite.WorkflowTestSuite
	s.SetLogger(engine.Logger(nil))
	e := s.NewTestActivityEnvironment()
	run := func(ctx context.Context) (drills.Outcome, error) {
		out, err := f.a.finishDrill(ctx, in, attempt, f.ran)
		return out, engine.EncodeError(err)
	}
	e.RegisterActivity(run)
	var out drills.Outcome

	got, err := e.ExecuteActivity(run)
	if err != nil {
		return out, engine.DecodeError(err)
	}

	if err := got.Get(&out); err != nil {
		t.Fatal(err)
	}

	return out, nil
}

func record(t *testing.T, out drills.Outcome) evidence.Record {
	t.Helper()

	r, err := evidence.Verify(out.Record)
	if err != nil {
		t.Fatal(err)
	}

	return r
}

// ran is a drill of one shard that went well.
func ran() FinishIn {
	id := shardOf("orders/0")
	cut := targets.Cut{ID: "20260314T025948.120Z-3fa9", Group: "shop", QuiescedAt: at(-12), SealedAt: at(-10), Shards: []targets.ShardPoint{{Shard: id, Kind: targets.Postgres, Region: "east"}}}
	run := plan.Run{ID: "restore-shop-1", Hash: "ab", Cut: cut, Goal: plan.Goal{Group: "shop", Vault: "west"}, Steps: []plan.Step{
		{ID: "restore-orders/0", Op: plan.OpRestore, Shard: id, Kind: targets.Postgres, BaseBytes: 100},
		{ID: "verify-orders/0", Op: plan.OpVerify, Shard: id, Kind: targets.Postgres, Needs: []string{"restore-orders/0"}}}}

	return FinishIn{Drill: drills.Definition{Name: "nightly", Group: "shop", Cut: drills.Latest, Vault: "west", Trigger: "manual", Every: time.Hour,
		Objectives: evidence.Objectives{RTO: time.Minute, RPO: time.Minute}},
		Run: "r1", By: "somebody", Plan: run, Sample: evidence.Sample{Method: "newest sealed cut of the group", Population: 3, Seed: "0"},
		Sandbox:   SandboxRef{ID: "box", Dir: "/box", Queue: "host"},
		Prechecks: []evidence.Precheck{{Name: "free space", At: at(2), Passed: true, Detail: "9 GiB free, 100 B needed"}},
		Started:   t0, Planned: at(1), Opened: at(2), Ended: at(30), RemovedAt: at(33), Finished: at(33),
		Steps: []plan.StepOut{
			{StepID: "restore-orders/0", Shard: id, Op: plan.OpRestore, Started: at(3), Finished: at(20), Attempt: 1, Address: "127.0.0.1:41001", Outcome: targets.Outcome{Bytes: 100}},
			{StepID: "verify-orders/0", Shard: id, Op: plan.OpVerify, Started: at(20), Finished: at(25), Attempt: 1,
				Findings: []targets.Finding{{Check: "starts", Subject: "orders/0", Severity: targets.Passed, Expected: "answers"}}}},
		Cross: plan.StepOut{StepID: CrossCheckStep, Started: at(25), Finished: at(30), Attempt: 1}}
}

func outcome(r evidence.Record, id string) evidence.Step {
	i := slices.IndexFunc(r.Steps, func(s evidence.Step) bool { return s.ID == id })
	if i < 0 {
		return evidence.Step{Outcome: "no such step"}
	}

	return r.Steps[i]
}

func TestFinishDrillFillsTheRecord(t *testing.T) {
	f := newFinisher(t)
	f.ran = map[string]debrief.Ran{"restore-orders/0": {Attempts: 3, Worker: "7@west-1"}}
	in := ran()

	out, err := f.finish(t, in, 1)
	if err != nil {
		t.Fatal(err)
	}

	r := record(t, out)
	if !out.Passed || len(out.Vaults) != 2 || out.Problem != "" || out.Sandbox != "" {
		t.Fatalf("%+v %+v", out, r.Verdict)
	}

	if !r.GeneratedAt.Equal(in.Finished) || !r.Finished.Equal(in.Finished) {
		t.Errorf("generated %v, finished %v", r.GeneratedAt, r.Finished)
	}

	if s := outcome(r, "remove-sandbox"); s.Outcome != evidence.StepDone || !s.Started.Value.Equal(at(30)) || !s.Finished.Value.Equal(at(33)) {
		t.Errorf("the removal: %+v", s)
	}

	if s := outcome(r, "restore-orders/0"); s.Attempts != 3 || s.Actor != "drctl worker 7@west-1" {
		t.Errorf("the restore: %+v", s)
	}

	if s := outcome(r, "verify-orders/0"); s.Attempts != 0 || !strings.Contains(s.Actor, "not recorded") {
		t.Errorf("a step of which nothing is known: %+v", s)
	}

	if rto, _ := r.Measured.RTO.Get(); rto != 30*time.Second {
		t.Errorf("RTO %v", rto)
	}

	if len(r.Prechecks) != 1 || !strings.Contains(r.Posture.Frequency.Reason()+*r.Posture.Frequency.Value, "a cut every 1m0s, a base every 24h0m0s, a check of the vaults by hand only") {
		t.Errorf("gates %+v, posture %+v", r.Prechecks, r.Posture)
	}

	var what []string
	for _, d := range r.Decisions {
		what = append(what, d.What)
	}

	if !slices.Equal(what, []string{"declared", "recover cut 20260314T025948.120Z-3fa9", "go"}) {
		t.Errorf("decisions %v", what)
	}

	if due, _ := r.Test.NextDue.Get(); !due.Equal(t0.Add(time.Hour)) {
		t.Errorf("next due %v", due)
	}
	// The plan is attached, and is the same beside the report and in each vault.
	b, err := os.ReadFile(filepath.Join(f.a.StateDir, "reports", r.ID+"-plan.json"))
	if err != nil || len(r.Attachments) != 1 || r.Attachments[0] != evidence.Attach("plan.json", r.Attachments[0].MediaType, b) {
		t.Fatalf("%v %+v", err, r.Attachments)
	}

	for _, v := range f.p.vaults {
		b, _, err := v.ReadEncrypted(context.Background(), vault.ReportKey("drill-plan", r.ID))
		if err != nil {
			t.Fatal(err)
		}

		if got := evidence.Attach("plan.json", r.Attachments[0].MediaType, b); got != r.Attachments[0] {
			t.Errorf("%s holds another plan: %+v", v.Region(), got)
		}
	}

	schema, err := jsonschema.NewCompiler().Compile("../docs/evidence.schema.json")
	if err != nil {
		t.Fatal(err)
	}

	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Record))
	if err != nil {
		t.Fatal(err)
	}

	if err := schema.Validate(doc); err != nil {
		t.Error(err)
	}

	for _, p := range []string{out.JSON, out.HTML} {
		if b, err := os.ReadFile(p); err != nil || len(b) == 0 {
			t.Error(p, err)
		}
	}
}

// An assertion that no step could run, because the cut lacks what it is about, is
// no passed one.
func TestFinishDrillMissesTheAssertionsOfWhatTheCutLacks(t *testing.T) {
	f := newFinisher(t)
	in := ran()
	in.Drill.Checks.Assertions = map[string][]targets.Assertion{
		"orders": {{Name: "some", Query: "SELECT 1", Want: "1"}}, "orders/0": {{Name: "more", Query: "SELECT 1", Want: "1"}},
		"carts": {{Name: "new", Query: "DBSIZE", Want: ">0"}},
	}

	out, err := f.finish(t, in, 1)
	if err != nil {
		t.Fatal(err)
	}

	if v := record(t, out).Verdict; out.Passed || len(v.Failures) != 1 || !strings.Contains(v.Failures[0], `"assertions" on carts`) {
		t.Errorf("%+v", v)
	}
}

// An engine that the command started first is on the way back.
func TestFinishDrillCountsTheEnginesStart(t *testing.T) {
	f := newFinisher(t)
	in := ran()
	in.Ordered = at(-4)

	out, err := f.finish(t, in, 1)
	if err != nil {
		t.Fatal(err)
	}
	r := record(t, out)
	rto, _ := r.Measured.RTO.Get()

	rpo, _ := r.Measured.RPO.Get()
	if rto != 34*time.Second || rpo != 8*time.Second || !r.Started.Equal(at(-4)) {
		t.Errorf("RTO %v, RPO %v, started %v", rto, rpo, r.Started)
	}

	if s := outcome(r, "start-engine"); s.Outcome != evidence.StepDone || !s.Finished.Value.Equal(t0) || !strings.Contains(s.Actor, "somebody") {
		t.Errorf("%+v", s)
	}
}

// A worker that dies after it stored the report, and another that does it
// again a moment later with other things in view, leave one report.
func TestFinishDrillTwiceLeavesOneRecord(t *testing.T) {
	f := newFinisher(t)
	in := ran()

	first, err := f.finish(t, in, 1)
	if err != nil {
		t.Fatal(err)
	}

	again, err := f.finish(t, in, 2)
	if err != nil || !bytes.Equal(compact(t, first.Record), compact(t, again.Record)) {
		t.Fatalf("the same worker writes another record: %v", err)
	}

	f.a.Version = "2"
	if err := os.Remove(filepath.Join(f.dirs["east"], filepath.FromSlash(vault.ReportKey("drill", first.ID)))); err != nil {
		t.Fatal(err) // and one vault never got it
	}

	again, err = f.finish(t, in, 2)
	if err != nil || !bytes.Equal(compact(t, first.Record), compact(t, again.Record)) || again.ID != first.ID {
		t.Fatalf("another worker's record: %v", err)
	}

	for name, v := range f.p.vaults {
		var doc json.RawMessage
		if err := v.Report(context.Background(), "drill", first.ID, &doc); err != nil || !bytes.Equal(compact(t, doc), compact(t, first.Record)) {
			t.Errorf("the vault of %s holds another: %v", name, err)
		}
	}

	if b, err := os.ReadFile(again.JSON); err != nil || !bytes.Equal(compact(t, b), compact(t, first.Record)) {
		t.Errorf("the file holds another: %v", err)
	}
}

func compact(t *testing.T, b []byte) []byte {
	t.Helper()

	var out bytes.Buffer
	if err := json.Compact(&out, b); err != nil {
		t.Fatal(err)
	}

	return out.Bytes()
}

func TestFinishDrillDoesNotTakeAnothersRecord(t *testing.T) {
	f := newFinisher(t)

	in := ran()
	if _, err := f.finish(t, in, 1); err != nil {
		t.Fatal(err)
	}
	in.Plan.ID = "restore-shop-2" // a drill of the same name and millisecond

	_, err := f.finish(t, in, 1)
	if !fail.Is(err, fail.Conflict) {
		t.Fatalf("%v", err)
	}
}

func TestFinishDrillWithoutAVaultWritesFiles(t *testing.T) {
	f := newFinisher(t)
	gone := fail.New(fail.Unavailable, "vault: open", "vault of west", "", errors.New("no route to host"))

	f.p.down = map[string]error{"west": gone, "east": gone}
	if _, err := f.finish(t, ran(), 1); !fail.Is(err, fail.Unavailable) {
		t.Fatalf("the first attempt gives up: %v", err)
	}

	out, err := f.finish(t, ran(), storeAttempts)
	if err != nil || !strings.Contains(out.Problem, "no route to host") || len(out.Vaults) != 0 {
		t.Fatalf("%+v %v", out, err)
	}

	if b, err := os.ReadFile(out.JSON); err != nil || !bytes.Equal(compact(t, b), compact(t, out.Record)) {
		t.Error(err)
	}
	// With the vault that was read gone, the other one gets the report.
	delete(f.p.down, "east")

	out, err = f.finish(t, ran(), 1)
	if err != nil || !slices.Equal(out.Vaults, []string{"east"}) {
		t.Fatalf("%+v %v", out, err)
	}

	if r := record(t, out); r.RecoveryPoint.Location.Reason() == "" {
		t.Error("the record names the wrong vault as the one that was read")
	}
}

// What failed stands in the verdict with its reason, in the record and on the
// terminal; a finding leaves the step done and the RTO measured.
func TestFinishDrillSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*FinishIn)
		say    []string
		rto    bool
		step   string
		is     string
	}{
		"a step failed": {func(in *FinishIn) {
			in.Steps = in.Steps[:1]
			in.Steps[0].Error, in.Steps[0].Address = "stream: chunk streams/orders/0/x is damaged", ""
			in.NotRun = []plan.NotRun{{StepID: "verify-orders/0", Why: "restore-orders/0 was not done"}, {StepID: CrossCheckStep, Why: "not every shard was restored"}}
			in.Cross = plan.StepOut{}
		}, []string{"step restore-orders/0 failed: stream: chunk streams/orders/0/x is damaged", "step verify-orders/0 did not run: restore-orders/0 was not done",
			"step cross-check did not run: not every shard was restored"}, false, "cross-check", evidence.StepNotRun},
		"a check found something": {func(in *FinishIn) {
			in.Steps[1].Findings = append(in.Steps[1].Findings, targets.Finding{Check: "pg_amcheck", Subject: "orders/0", Severity: targets.Failed, Detail: "index orders_pkey is damaged"})
		}, []string{`check "pg_amcheck" on orders/0: failed: index orders_pkey is damaged`}, true, "verify-orders/0", evidence.StepDone},
		"the cross-check could not run": {func(in *FinishIn) {
			in.Cross.Error = "drill: orders/0: connection refused"
		}, []string{"step cross-check failed: drill: orders/0: connection refused"}, false, "cross-check", evidence.StepFailed},
		"there was no plan": {func(in *FinishIn) {
			*in = FinishIn{Drill: in.Drill, Run: in.Run, Started: in.Started, Planned: at(1), Ended: at(1), Finished: at(1), PlanError: "restore: no base leads to the cut",
				NotRun: []plan.NotRun{{StepID: "open-sandbox", Why: "there is no plan"}, {StepID: CrossCheckStep, Why: "there is no plan"}}}
		}, []string{"step plan failed: restore: no base leads to the cut", "steps open-sandbox, cross-check did not run: there is no plan"}, false, "open-sandbox", evidence.StepNotRun},
		"there was no sandbox": {func(in *FinishIn) {
			in.Sandbox, in.Steps, in.Cross, in.OpenError, in.RemovedAt = SandboxRef{}, nil, plan.StepOut{}, "sandbox: permission denied", time.Time{}
		}, []string{"step open-sandbox failed: sandbox: permission denied"}, false, "open-sandbox", evidence.StepFailed},
		"it did not fit": {func(in *FinishIn) {
			in.Prechecks[0].Passed, in.Prechecks[0].Detail = false, "1 KiB free, 9 GiB needed"
			in.Steps, in.Cross = nil, plan.StepOut{}
			in.NotRun = []plan.NotRun{{StepID: "restore-orders/0", Why: "the plan does not fit into the sandbox"}}
		}, []string{`gate "free space" did not pass: 1 KiB free, 9 GiB needed`}, false, "restore-orders/0", evidence.StepNotRun},
		"it was cancelled": {func(in *FinishIn) { in.Errors = []string{"the drill was cancelled"} }, []string{"the drill was cancelled"}, true, "remove-sandbox", evidence.StepDone},
		"it was not removed": {func(in *FinishIn) {
			in.RemovedAt, in.LeftOver = time.Time{}, []string{"sandbox box (/box): device or resource busy"}
		}, []string{"left over: sandbox box (/box): device or resource busy"}, true, "remove-sandbox", evidence.StepFailed},
		"it is kept": {func(in *FinishIn) {
			in.RemovedAt, in.KeptUntil = time.Time{}, at(3600)
			in.Cross.Findings = []targets.Finding{{Check: "sum", Subject: "orders", Severity: targets.Failed}}
		}, []string{"kept for inspection until 2026-03-14T04:00:00Z"}, true, "remove-sandbox", evidence.StepNotRun},
	} {
		f := newFinisher(t)
		in := ran()
		c.change(&in)

		out, err := f.finish(t, in, 1)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}

		r := record(t, out)
		if out.Passed {
			t.Errorf("%s: it passed", name)
		}

		var text bytes.Buffer
		if err := report.Text(&text, r, progress.Style{NoColor: true}); err != nil {
			t.Fatal(err)
		}

		for _, s := range c.say {
			if !strings.Contains(text.String(), s) {
				t.Errorf("%s: the terminal does not say %q:\n%s", name, s, text.String())
			}

			if all := strings.Join(append(r.Verdict.Failures, r.Verdict.Warnings...), "\n"); !strings.Contains(all, s) {
				t.Errorf("%s: the verdict does not say %q:\n%s", name, s, all)
			}
		}

		if _, ok := r.Measured.RTO.Get(); ok != c.rto {
			t.Errorf("%s: RTO %+v", name, r.Measured.RTO)
		}

		if s := outcome(r, c.step); s.Outcome != c.is {
			t.Errorf("%s: step %s is %s", name, c.step, s.Outcome)
		}
	}
}

func TestFits(t *testing.T) {
	for _, c := range []struct {
		need, free, limit int64
		ok                bool
	}{{100, 100, 0, true}, {101, 100, 0, false}, {100, 200, 100, true}, {101, 200, 100, false}, {0, 0, 0, true}} {
		if ok, detail := fits(c.need, c.free, c.limit); ok != c.ok || !strings.Contains(detail, "needed") || (c.limit > 0) != strings.Contains(detail, "sandbox.max_bytes") {
			t.Errorf("%+v: %v %s", c, ok, detail)
		}
	}
}

func TestCheckSpaceLooksAtTheVolume(t *testing.T) {
	f := newFinisher(t)

	g, err := f.a.CheckSpace(context.Background(), SpaceIn{Sandbox: SandboxRef{Dir: f.a.SandboxRoot}, Need: 1, Uncounted: []string{"media/0"}})
	if err != nil || !g.Passed || !strings.Contains(g.Detail, "not counted: media/0") {
		t.Fatalf("%+v %v", g, err)
	}

	if g, err = f.a.CheckSpace(context.Background(), SpaceIn{Sandbox: SandboxRef{Dir: f.a.SandboxRoot}, Need: 1 << 60}); err != nil || g.Passed {
		t.Fatalf("an exabyte fits: %+v %v", g, err)
	}

	f.a.SandboxMax = 1 << 10
	if g, err = f.a.CheckSpace(context.Background(), SpaceIn{Sandbox: SandboxRef{Dir: f.a.SandboxRoot}, Need: 1 << 11}); err != nil || g.Passed || !strings.Contains(g.Detail, "1 KiB allowed") {
		t.Fatalf("the limit does not hold: %+v %v", g, err)
	}

	if _, err = f.a.CheckSpace(context.Background(), SpaceIn{Sandbox: SandboxRef{Dir: f.a.SandboxRoot + "/gone"}}); err == nil {
		t.Fatal("a sandbox that is gone has room")
	}
}

func TestKeepSandboxRecordsItsEnd(t *testing.T) {
	f := newFinisher(t)
	f.a.SandboxOwner = os.Getpid()

	ref, err := f.a.openSandbox(context.Background(), SandboxIn{ID: "drill-x", Purpose: "drill x"}, sandbox.Run{Workflow: "small:drill/x", ID: "1"})
	if err != nil {
		t.Fatal(err)
	}

	if err := f.a.KeepSandbox(context.Background(), KeepIn{Sandbox: ref, Until: at(100)}); err != nil {
		t.Fatal(err)
	}

	box, err := sandbox.Open(ref.Dir)
	if err != nil || !box.Expires().Equal(at(100)) || box.MadeBy().Workflow != "small:drill/x" {
		t.Fatalf("%v %v %v", box.Expires(), box.MadeBy(), err)
	}

	if removed, err := sandbox.Sweep(context.Background(), f.a.SandboxRoot, at(99), nil); err != nil || len(removed) != 0 {
		t.Fatal(removed, err)
	}

	if removed, err := sandbox.Sweep(context.Background(), f.a.SandboxRoot, at(100), nil); err != nil || len(removed) != 1 {
		t.Fatal(removed, err)
	}

	if err := f.a.KeepSandbox(context.Background(), KeepIn{Sandbox: ref, Until: at(100)}); err == nil {
		t.Fatal("a sandbox that is gone is kept")
	}
}
