package workflows_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	commonpb "go.temporal.io/api/common/v1"
	"go.temporal.io/sdk/converter"

	"drctl/activities"
	"drctl/internal/platform"
	"drctl/restore/plan"
	"drctl/targets"
	"drctl/workflows"
)

// engineLimit is how much one call may carry through an engine with Temporal's
// own settings, in bytes.
const engineLimit = 2 << 20

// limited refuses what an engine would refuse, and notes the largest payload.
type limited struct {
	converter.DataConverter
	most *atomic.Int64
}

func (l limited) ToPayloads(values ...any) (*commonpb.Payloads, error) {
	p, err := l.DataConverter.ToPayloads(values...)
	if err != nil {
		return nil, err
	}

	n := int64(p.Size())
	if n > engineLimit {
		return nil, fmt.Errorf("a payload of %d bytes, the engine takes %d: %T", n, engineLimit, values)
	}

	for was := l.most.Load(); n > was && !l.most.CompareAndSwap(was, n); was = l.most.Load() {
	}

	return p, nil
}

const manyShards = 1000

// manyGroup is a group of many shards as long-winded as real ones.
func manyGroup(shards int) (g platform.Group, c targets.Cut, p plan.Run) {
	g, c = group(), cut()
	g.Shards, c.Shards = nil, nil
	p = planOf()

	settings := map[string]string{}
	for i := range 20 {
		settings[fmt.Sprintf("a_setting_of_the_server_%d", i)] = strings.Repeat("v", 30)
	}

	for i := range shards {
		kind, target := targets.Postgres, "orders"
		switch {
		case i%10 == 8:
			kind, target = targets.Redis, "carts"
		case i%10 == 9:
			kind, target = targets.S3, "media"
		}
		s := targets.ShardID{Target: target, Shard: fmt.Sprint(i)}
		at := targets.Position{Kind: kind, Timeline: "7000000000000000001-00000001", Offset: 1 << 50, RestorePoint: "drctl:20260314T025948.120Z-3fa9", AsOf: t0}
		g.Shards = append(g.Shards, platform.Shard{Shard: s, Kind: kind, Region: "east", Queue: queueOf("east")})
		base := targets.Artifact{ID: "20260314T025948Z-" + s.Target + "-" + s.Shard, Shard: s, Kind: kind, Region: "east", Method: "basebackup",
			Snapshot: strings.Repeat("0", 64), From: at, Until: at, Settings: settings}

		var doubt []targets.InDoubt // more than are in flight at one instant
		for n := range 3 {
			doubt = append(doubt, targets.InDoubt{GID: targets.GID(fmt.Sprintf("%d_%s", n, strings.Repeat("g", 60))), Action: targets.InDoubtRollBack,
				Group: strings.Repeat("g", 60), Reason: "no part of it is committed in the cut"})
		}
		c.Shards = append(c.Shards, targets.ShardPoint{Shard: s, Kind: kind, Region: "east", Position: at,
			Bases: map[string]string{"east": base.ID, "west": base.ID}, InDoubt: doubt, InDoubtSince: t0,
			Locked: &targets.LockedTables{Database: "orders", Tables: 40, SHA256: strings.Repeat("0", 64), Databases: []string{"billing", "postgres"}, RoundTrip: time.Millisecond}})
		c.Why = append(c.Why, s.String()+": 12 quiet instants fell into a global transaction of which a part is half done")
		p.Steps = append(p.Steps, plan.Step{ID: "restore-" + s.String(), Op: plan.OpRestore, Shard: s, Kind: kind, Base: base, Point: at,
			Path: []targets.Span{{Timeline: at.Timeline, From: 1, To: at.Offset}}, Limit: time.Hour, InDoubt: doubt, InDoubtSince: t0})
	}

	for _, s := range p.Steps[:shards] {
		p.Steps = append(p.Steps, plan.Step{ID: "verify-" + s.Shard.String(), Op: plan.OpVerify, Shard: s.Shard, Kind: s.Kind, Needs: []string{s.ID}, Point: s.Point, Limit: time.Hour})
	}

	c.Proof = &targets.CutProof{Grade: targets.Proven, At: t0, Modes: []string{targets.ModeTagged}, Evidence: strings.Repeat("0", 64), BrokenCount: targets.MaxBroken}
	for range targets.MaxBroken {
		b := targets.BrokenGlobal{ID: strings.Repeat("g", 60), Done: 1, Want: 20, Since: t0}
		for i := range 20 {
			b.Shards = append(b.Shards, g.Shards[i].Shard)
		}
		c.Proof.Broken = append(c.Proof.Broken, b)
	}
	p.Cut = c
	p.Hash = p.Sum()

	return g, c, p
}

// TestAThousandShards: nothing that crosses the engine outgrows it, whatever a
// plan, its steps and their findings weigh.
func TestAThousandShards(t *testing.T) {
	g, c, p := manyGroup(manyShards)

	passed := make([]targets.Finding, 20)
	for i := range passed {
		passed[i] = targets.Finding{Check: "an assertion of some length", Subject: "orders/0", Severity: targets.Passed, Expected: strings.Repeat("x", 100), Got: strings.Repeat("x", 100)}
	}
	d := drillIn()
	d.Window = 50
	in := restoreIn(p)
	in.Order.Window = 50

	for name, run := range map[string]struct{ workflow, in any }{
		"restore": {workflows.Restore, in},
		"drill":   {workflows.RunDrill, d},
		"cut":     {workflows.TakeCut, workflows.TakeCutIn{Group: g}},
		"backup":  {workflows.TakeBackup, workflows.TakeBackupIn{Group: g, Window: 50}},
	} {
		w := newWorld()

		w.plan, w.cut, w.settings = p, c, p.Steps[0].Base.Settings
		for _, s := range p.Steps[:manyShards] {
			w.findings[s.Shard.String()] = passed
		}
		var most atomic.Int64
		e := env(t, w)
		e.SetDataConverter(limited{converter.GetDefaultDataConverter(), &most})
		e.SetTestTimeout(5 * time.Minute)
		e.ExecuteWorkflow(run.workflow, run.in)

		if err := e.GetWorkflowError(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}

		if name == "restore" {
			var out workflows.RestoreOut
			if err := e.GetWorkflowResult(&out); err != nil || len(out.Steps) != 2*manyShards || len(out.Failed)+len(out.Unchecked)+len(out.NotRun) > 0 {
				t.Errorf("%d steps, %d failed, %d unchecked, %v", len(out.Steps), len(out.Failed), len(out.Unchecked), err)
			}
		}

		if name == "drill" && (len(w.finished) != 1 || len(w.finished[0].Steps) != 2*manyShards || w.finished[0].Carried.Whole != nil) {
			t.Errorf("the report is made from %d steps", len(w.finished[0].Steps))
		}

		t.Logf("%s: the largest payload has %d KiB", name, most.Load()>>10)
	}

	// The limit of the test is one: a plan that is carried whole goes over it.
	if _, err := (limited{converter.GetDefaultDataConverter(), &atomic.Int64{}}).ToPayloads(activities.CrossIn{Run: plan.Carried{Whole: &p}}); err == nil {
		t.Error("a plan of a thousand shards is small enough to be carried whole: the test shows nothing")
	}
}

// largest is the largest payload of a workflow over a group of many shards.
func largest(t *testing.T, shards int, what string) int64 {
	t.Helper()

	g, c, p := manyGroup(shards)
	w := newWorld()
	w.plan, w.cut, w.settings = p, c, p.Steps[0].Base.Settings

	var most atomic.Int64
	e := env(t, w)
	e.SetDataConverter(limited{converter.GetDefaultDataConverter(), &most})
	e.SetTestTimeout(5 * time.Minute)

	if what == "cut" {
		e.ExecuteWorkflow(workflows.TakeCut, workflows.TakeCutIn{Group: g})
	} else {
		e.ExecuteWorkflow(workflows.Restore, restoreIn(p))
	}

	if err := e.GetWorkflowError(); err != nil {
		t.Fatal(err)
	}

	return most.Load()
}

// What a cut and a plan carry through the engine grows as the number of shards does, from a start
// that is small.
func TestPayloadsGrowAsTheGroupDoes(t *testing.T) {
	const few = 250

	for _, what := range []string{"cut", "restore"} {
		a, b := largest(t, few, what), largest(t, manyShards, what)
		t.Logf("%s: %d KiB for %d shards, %d KiB for %d", what, a>>10, few, b>>10, manyShards)

		if b > a*(manyShards/few)*11/10 || b > engineLimit {
			t.Errorf("%s: %d bytes for %d shards, %d for %d", what, a, few, b, manyShards)
		}
	}
}
