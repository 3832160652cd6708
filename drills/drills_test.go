package drills

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"pgregory.net/rapid"

	"drctl/internal/fail"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

var t0 = time.Date(2026, 3, 14, 3, 0, 0, 0, time.UTC)

func at(s float64) time.Time { return t0.Add(time.Duration(s * float64(time.Second))) }

func cutAt(when time.Time, sealed bool) targets.Cut {
	c := targets.Cut{ID: targets.IDTime(when) + "-0000", Group: "shop", Mode: targets.Gate, QuiescedAt: when, ReleasedAt: when.Add(3 * time.Millisecond), Attempts: 1}
	if sealed {
		c.SealedAt = when.Add(2 * time.Second)
	}

	return c
}

func minutely(n int) (cuts []targets.Cut) {
	for i := range n {
		cuts = append(cuts, cutAt(t0.Add(-time.Duration(i+1)*time.Minute), true))
	}

	return cuts
}

func def(cut string) Definition {
	return Definition{Name: "nightly", Group: "shop", Cut: cut, Window: time.Hour, Vault: "west", Objectives: evidence.Objectives{RTO: time.Minute, RPO: 2 * time.Minute}}
}

func TestPickLatest(t *testing.T) {
	cuts := append(minutely(5), cutAt(t0.Add(-time.Second), false))
	other := cutAt(t0, true)
	other.Group = "blog"

	c, s, err := PickCut(append(cuts, other), def(Latest), t0, time.Time{}, 7)
	if err != nil || c.ID != cuts[0].ID || s.Population != 5 || s.Seed != "0" || !s.Next.IsZero() || s.Method != methodLatest {
		t.Errorf("%s %+v %v", c.ID, s, err)
	}
}

// A drill of a disaster recovers what there was before it.
func TestPickBeforeTheDisaster(t *testing.T) {
	cuts := minutely(30)

	c, s, err := PickCut(cuts, def(Latest), t0, at(-590), 7)
	if err != nil || c.ID != cuts[9].ID || s.Population != 21 || !strings.Contains(s.Method, "before the disaster") {
		t.Errorf("%s %+v %v", c.ID, s, err)
	}

	for seed := range int64(200) {
		c, s, err := PickCut(cuts, def(Random), t0, at(-590), seed)
		if err != nil || !c.SealedAt.Before(at(-590)) || s.Population != 21 {
			t.Fatalf("%s %+v %v", c.ID, s, err)
		}
	}

	m := Measure(Timing{Ordered: t0, Disaster: at(-590), Cut: timing().Cut, Steps: timing().Steps})
	if !strings.Contains(m.RPO.Reason(), "after the instant") {
		t.Errorf("a cut from after the disaster gives the RPO %+v", m.RPO)
	}
}

func TestPickRandomIsRepeatableAndStaysInItsWindow(t *testing.T) {
	cuts := minutely(200)
	for i := range cuts {
		if i%3 == 0 {
			cuts[i].SealedAt = time.Time{}
		}
	}

	rapid.Check(t, func(rt *rapid.T) {
		d := def(Random)
		d.Window = time.Duration(rapid.IntRange(3, 300).Draw(rt, "minutes")) * time.Minute
		seed := rapid.Int64().Draw(rt, "seed")

		c, s, err := PickCut(cuts, d, t0, time.Time{}, seed)
		if err != nil {
			rt.Fatal(err)
		}

		if c.SealedAt.IsZero() || c.QuiescedAt.Before(t0.Add(-d.Window)) {
			rt.Fatalf("%s is not sealed or not in the window", c.ID)
		}
		shuffled := slices.Clone(cuts)
		slices.Reverse(shuffled)

		again, s2, err := PickCut(append(shuffled, cuts[0]), d, t0, time.Time{}, seed)
		if err != nil || again.ID != c.ID || s2 != s {
			rt.Fatalf("the same draw gives %s and %s", c.ID, again.ID)
		}

		if d.Seed = seed + 1; d.Seed != 0 {
			if _, s, _ := PickCut(cuts, d, t0, time.Time{}, seed); s.Seed != fmt.Sprint(seed+1) {
				rt.Fatalf("the definition's seed is not used: %s", s.Seed)
			}
		}
	})
}

func TestPickRandomReachesEveryCut(t *testing.T) {
	hits := map[string]int{}
	for seed := range int64(4000) {
		c, _, err := PickCut(minutely(20), def(Random), t0, time.Time{}, seed)
		if err != nil {
			t.Fatal(err)
		}

		hits[c.ID]++
	}

	for id, n := range hits {
		if n < 120 || n > 290 { // 200 expected; 5 standard deviations are 70
			t.Errorf("%s was drawn %d times of 4000", id, n)
		}
	}

	if len(hits) != 20 {
		t.Errorf("%d of 20 cuts were ever drawn", len(hits))
	}
}

// TestDrawByHand repeats a draw as the documentation says, with sha256sum.
func TestDrawByHand(t *testing.T) {
	cuts := minutely(30)

	c, s, err := PickCut(cuts, def(Random), t0, time.Time{}, 42)
	if err != nil {
		t.Fatal(err)
	}

	ids := []string{}
	for _, c := range cuts {
		ids = append(ids, c.ID)
	}

	slices.Sort(ids)

	file := t.TempDir() + "/ids.txt"
	if err := os.WriteFile(file, []byte(strings.Join(ids, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}

	out, err := exec.Command("sh", "-c", `( echo 42; sort "$1" ) | sha256sum | cut -c1-16; LC_ALL=C sort "$1" | sha256sum`, "sh", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var index uint64

	var pop string
	if _, err := fmt.Sscanf(string(out), "%x\n%s", &index, &pop); err != nil {
		t.Fatal(err)
	}

	if got := ids[index%uint64(len(ids))]; got != c.ID || pop != s.PopulationSHA256 {
		t.Errorf("by hand %s, by drctl %s", got, c.ID)
	}
}

func TestPickFailures(t *testing.T) {
	var none time.Time
	for name, c := range map[string]struct {
		cuts     []targets.Cut
		def      Definition
		disaster time.Time
		code     fail.Code
		say      string
	}{
		"none":                               {nil, def(Latest), none, fail.NotFound, "no sealed cut"},
		"unsealed only":                      {[]targets.Cut{cutAt(t0, false)}, def(Latest), none, fail.NotFound, "none of 1 cuts is sealed"},
		"too old":                            {[]targets.Cut{cutAt(t0.Add(-2*time.Hour), true)}, def(Random), none, fail.NotFound, "none of 1 sealed cuts was taken in the last 1h"},
		"from tomorrow":                      {[]targets.Cut{cutAt(t0.Add(time.Hour), true)}, def(Random), none, fail.NotFound, "none of 1"},
		"a latest from tomorrow":             {[]targets.Cut{cutAt(t0.Add(time.Hour), true)}, def(Latest), none, fail.NotFound, "after the drill began"},
		"quiesced after the disaster":        {minutely(3), def(Latest), at(-3600), fail.NotFound, "none of 3 sealed cuts was taken and sealed before the disaster at 2026-03-14T02:00:00Z"},
		"sealed after the disaster":          {minutely(1), def(Latest), at(-59), fail.NotFound, "before the disaster"},
		"none in the window, for a disaster": {[]targets.Cut{cutAt(t0.Add(-2*time.Hour), true)}, def(Random), at(-60), fail.NotFound, "in the last 1h"},
		"random, and all after the disaster": {minutely(3), def(Random), at(-3600), fail.NotFound, "before the disaster"},
		"bad definition":                     {minutely(1), Definition{Cut: "newest"}, none, fail.Invalid, `"newest"`},
	} {
		_, _, err := PickCut(c.cuts, c.def, t0, c.disaster, 1)
		if !fail.Is(err, c.code) || !strings.Contains(fmt.Sprint(err), c.say) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func step(id, phase string, from, to float64) evidence.Step {
	return evidence.Step{ID: id, Phase: phase, Outcome: evidence.StepDone, Attempts: 1, Started: evidence.Known(at(from)), Finished: evidence.Known(at(to))}
}

func timing() Timing {
	c := cutAt(at(-12), true)
	c.Shards = []targets.ShardPoint{
		{Shard: targets.ShardID{Target: "orders", Shard: "10"}, Kind: targets.Postgres},
		{Shard: targets.ShardID{Target: "orders", Shard: "9"}, Kind: targets.Postgres},
		{Shard: targets.ShardID{Target: "media", Shard: "0"}, Kind: targets.S3, Position: targets.Position{Kind: targets.S3, AsOf: at(-12.5)}}}

	return Timing{Ordered: t0, Ended: at(31), Cut: c, Sample: evidence.Sample{Method: methodLatest},
		Steps: []evidence.Step{step("box", Prepare, 0, 1), step("r1", Restore, 1, 20), step("r2", Restore, 2, 25), step("v1", Verify, 20, 31), step("v2", Verify, 25, 30), step("rm", CleanUp, 31, 90)}}
}

func TestMeasure(t *testing.T) {
	m := Measure(timing())
	if d, _ := m.RTO.Get(); d != 31*time.Second {
		t.Errorf("RTO %v", d)
	}

	if d, _ := m.RPO.Get(); d != 12500*time.Millisecond {
		t.Errorf("RPO %v", d)
	}

	var names []string
	for _, s := range m.Stores {
		names = append(names, fmt.Sprintf("%s %v", s.Shard, s.Loss))
	}

	if got := strings.Join(names, ", "); got != "media/0 12.5s, orders/9 12s, orders/10 12s" {
		t.Error(got)
	}

	got := map[string]time.Duration{}
	for _, p := range m.Phases {
		if d, ok := p.Took.Get(); ok {
			got[p.Name] = d
		} else if p.Took.Reason() == "" {
			t.Errorf("%s has neither value nor reason", p.Name)
		}
	}

	if len(got) != 3 || got[Prepare] != time.Second || got[Restore] != 24*time.Second || got[Verify] != 11*time.Second {
		t.Errorf("%v", got)
	}
}

// The hosts that run steps have clocks of their own: what is measured from the order
// to the end is by one.
func TestRTOIsByOneClock(t *testing.T) {
	for _, off := range []time.Duration{-time.Hour, time.Hour} {
		x := timing()
		for i := range x.Steps {
			x.Steps[i].Started = evidence.Known(x.Steps[i].Started.Value.Add(off))
			x.Steps[i].Finished = evidence.Known(x.Steps[i].Finished.Value.Add(off))
		}

		m := Measure(x)
		if d, _ := m.RTO.Get(); d != 31*time.Second || !strings.Contains(m.RTOMethod, "clock of the engine") {
			t.Errorf("with steps %v off the RTO is %v (%s, %s)", off, d, m.RTO.Reason(), m.RTOMethod)
		}

		if d, _ := m.Phases[3].Took.Get(); d != 24*time.Second {
			t.Errorf("the restore took %v", d)
		}
	}
}

func TestMeasureReferences(t *testing.T) {
	x := timing()
	x.Disaster, x.Declared = at(-5), at(-2)
	m := Measure(x)
	rto, _ := m.RTO.Get()
	rpo, _ := m.RPO.Get()
	detect, _ := m.Phases[0].Took.Get()

	decide, _ := m.Phases[1].Took.Get()
	if rto != 36*time.Second || rpo != 7500*time.Millisecond || detect != 3*time.Second || decide != 2*time.Second || !strings.Contains(m.RPOMethod, "disaster") {
		t.Errorf("RTO %v RPO %v detect %v decide %v", rto, rpo, detect, decide)
	}

	x.Declared = time.Time{}
	if why := Measure(x).Phases[0].Took.Reason(); !strings.Contains(why, "5 s from the disaster") {
		t.Error(why)
	}
	x = timing()

	x.Sample = evidence.Sample{Method: methodRandom, Next: at(48)}
	if d, _ := Measure(x).RPO.Get(); d != 60500*time.Millisecond {
		t.Errorf("a drawn cut's worst case is %v", d)
	}

	x.Sample.Next = time.Time{} // the newest was drawn: its age counts
	if d, _ := Measure(x).RPO.Get(); d != 12500*time.Millisecond {
		t.Errorf("%v", d)
	}
}

func TestMeasureClaimsNothingItDoesNotKnow(t *testing.T) {
	x := timing()
	x.Steps[3].Outcome = evidence.StepFailed

	m := Measure(x)
	if _, ok := m.RTO.Get(); ok || len(m.Incomplete) != 1 || m.Incomplete[0] != "v1" {
		t.Errorf("a failed step gives an RTO: %+v", m)
	}

	for name, x := range map[string]Timing{"nothing": {}, "no steps": {Ordered: t0, Cut: timing().Cut}, "clock went back": {Ordered: at(1000), Steps: timing().Steps}} {
		if m := Measure(x); m.RTO.Reason() == "" {
			t.Errorf("%s: %+v", name, m.RTO)
		}
	}

	if m := Measure(Timing{Ordered: t0}); m.RPO.Reason() == "" {
		t.Error("an RPO without a cut")
	}
}

func TestJudge(t *testing.T) {
	good := targets.Finding{Check: "starts", Subject: "orders/0", Severity: targets.Passed, Expected: "answers"}
	bad := targets.Finding{Check: "sum", Subject: "orders", Severity: targets.Failed, Expected: "=5", Got: "4"}
	met := evidence.Measured{RTO: evidence.Known(time.Minute), RPO: evidence.Known(time.Second)}

	limits := evidence.Objectives{RTO: time.Minute, RPO: time.Minute}
	for name, c := range map[string]struct {
		fs   []targets.Finding
		s    []evidence.Step
		o    evidence.Objectives
		m    evidence.Measured
		fail string // "" passes
	}{
		"good":                 {[]targets.Finding{good}, nil, limits, met, ""},
		"no objectives":        {[]targets.Finding{good}, nil, evidence.Objectives{}, evidence.Measured{}, ""},
		"warned":               {[]targets.Finding{good, {Severity: targets.Warned}}, nil, limits, met, ""},
		"skipped":              {[]targets.Finding{good, {Check: "amcheck", Subject: "orders/0", Severity: targets.Skipped, Detail: "not installed"}}, nil, limits, met, `check "amcheck" on orders/0: skipped: not installed`},
		"informed only":        {[]targets.Finding{{Check: "keys", Severity: targets.Passed, Got: "0"}}, nil, limits, met, "no check of orders/0 passed (1 ran)"},
		"a sandbox left over":  {[]targets.Finding{good}, []evidence.Step{{ID: "remove-sandbox", Phase: CleanUp, Outcome: evidence.StepFailed, Error: "sandbox x (/box/x): busy"}}, limits, met, "left over: sandbox x (/box/x): busy"},
		"a failed check":       {[]targets.Finding{good, bad}, nil, limits, met, `check "sum" on orders: failed: expected =5, got 4`},
		"an unknown severity":  {[]targets.Finding{good, {Check: "x", Severity: "odd"}}, nil, limits, met, `"x"`},
		"no check":             {nil, nil, limits, met, "no check of orders/0 passed (0 ran)"},
		"skipped only":         {[]targets.Finding{{Severity: targets.Skipped}}, nil, limits, met, "no check of orders/0 passed (1 ran)"},
		"RTO missed by a hair": {[]targets.Finding{good}, nil, limits, evidence.Measured{RTO: evidence.Known(time.Minute + 1), RPO: met.RPO}, "RTO objective missed"},
		"RPO missed":           {[]targets.Finding{good}, nil, limits, evidence.Measured{RTO: met.RTO, RPO: evidence.Known(time.Hour)}, "RPO objective missed: 1 h measured, 1 min allowed"},
		"RTO not measured":     {[]targets.Finding{good}, nil, limits, evidence.Measured{RPO: met.RPO, RTO: evidence.Unknown[time.Duration]("why")}, "could not be judged: why"},
		"a step failed":        {[]targets.Finding{good}, nil, evidence.Objectives{}, evidence.Measured{Incomplete: []string{"restore-orders/0"}}, "step restore-orders/0 failed"},
		"a step failed, and why": {[]targets.Finding{good}, []evidence.Step{{ID: "restore-orders/0", Outcome: evidence.StepFailed, Error: "chunk x is damaged"}}, evidence.Objectives{},
			evidence.Measured{Incomplete: []string{"restore-orders/0"}}, "step restore-orders/0 failed: chunk x is damaged"},
		"a step did not run": {[]targets.Finding{good}, []evidence.Step{{ID: "cross-check", Outcome: evidence.StepNotRun, NotRunReason: "restore-orders/0 failed"}}, evidence.Objectives{},
			evidence.Measured{Incomplete: []string{"cross-check"}}, "step cross-check did not run: restore-orders/0 failed"},
		"all of it at the same time": {[]targets.Finding{bad}, nil, limits, evidence.Measured{Incomplete: []string{"s"}}, "no check of orders/0 passed"},
	} {
		f := Facts{Findings: c.fs, Steps: c.s, Def: Definition{Objectives: c.o}, Checked: map[string][]targets.Finding{"orders/0": c.fs}}
		for _, s := range c.s {
			if s.Phase == CleanUp {
				f.CleanUp.LeftOver = []string{s.Error}
			}
		}

		v := Judge(f, c.m)
		if v.Passed != (c.fail == "") || !strings.Contains(strings.Join(v.Failures, "\n"), c.fail) {
			t.Errorf("%s: %+v", name, v)
		}

		if err := VerdictError("drill", v); (err == nil) != v.Passed || err != nil && fail.ExitCode(err) != 4 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A store that only informed, another that confirmed something, and a quick drill.
func TestJudgeByStore(t *testing.T) {
	good := targets.Finding{Check: "recovery", Severity: targets.Passed, Expected: "finished", Got: "finished"}
	keys := targets.Finding{Check: "keys", Severity: targets.Passed, Got: "0"}
	skipped := targets.Finding{Check: "content", Severity: targets.Skipped}

	f := Facts{Findings: []targets.Finding{good, keys, skipped}, Checked: map[string][]targets.Finding{"orders/0": {good}, "carts/0": {keys, skipped}}, Def: Definition{Checks: Checks{Quick: true}}}
	if v := Judge(f, evidence.Measured{}); v.Passed || len(v.Failures) != 1 || !strings.Contains(v.Failures[0], "no check of carts/0 passed (2 ran)") {
		t.Errorf("%+v", v)
	}

	f.Checked["carts/0"] = append(f.Checked["carts/0"], good)
	if v := Judge(f, evidence.Measured{}); !v.Passed || len(v.Warnings) != 2 {
		t.Errorf("%+v", v)
	}

	if v := Judge(Facts{Findings: f.Findings}, evidence.Measured{}); v.Passed {
		t.Errorf("a drill without a store: %+v", v)
	}
}

func sandboxInstance(kind targets.Kind, shard, address, dir string) targets.Instance {
	id, _ := targets.ParseShardID(shard)
	return targets.Instance{Kind: kind, Shard: id, Role: targets.Sandbox, Address: address, DataDir: dir}
}

func TestProveIsolation(t *testing.T) {
	prod := []targets.Instance{{Kind: targets.Postgres, Shard: targets.ShardID{Target: "orders", Shard: "0"}, Region: "east", Address: "127.0.0.1:5433", DataDir: "/srv/pg/0"},
		{Kind: targets.S3, Shard: targets.ShardID{Target: "media", Shard: "0"}, Region: "east", Address: "http://localhost:9000"}}
	good := []targets.Instance{sandboxInstance(targets.Postgres, "orders/0", "127.0.0.1:41001", "/box/orders-0/data"), sandboxInstance(targets.S3, "media/0", "http://127.0.0.1:41002", ""),
		sandboxInstance(targets.Postgres, "orders/1", "/box/orders-1/socket:5432", "/box/orders-1/data")}
	off := []targets.Finding{{Check: targets.CheckReplicationOff, Subject: good[0].String(), Severity: targets.Passed},
		{Check: targets.CheckReplicationOff, Subject: good[2].String(), Severity: targets.Passed}}

	iso, f := ProveIsolation("b1", "/box", good, prod, off)
	if !iso.Proven || f.Severity != targets.Passed || len(iso.ProductionTouched) != 0 || len(iso.Addresses) != 3 {
		t.Errorf("%+v %+v", iso, f)
	}

	if !strings.Contains(iso.Network, "not isolated") {
		t.Errorf("the network is said to be %q", iso.Network)
	}

	for name, seen := range map[string][]targets.Finding{"nobody looked": nil, "one was not looked at": off[:1],
		"one replicates": {off[0], {Check: targets.CheckReplicationOff, Subject: good[2].String(), Severity: targets.Failed}}} {
		if iso, _ := ProveIsolation("b1", "/box", good, prod, seen); iso.Proven {
			t.Errorf("%s: %+v", name, iso)
		}
	}

	for name, in := range map[string]targets.Instance{
		"production's address":           sandboxInstance(targets.Postgres, "orders/0", "127.0.0.1:5433", "/box/x"),
		"the same in another form":       sandboxInstance(targets.S3, "media/0", "http://127.0.0.1:9000/", ""),
		"production's directory":         sandboxInstance(targets.Postgres, "orders/0", "127.0.0.1:41001", "/srv/pg/0/"),
		"outside the sandbox":            sandboxInstance(targets.Postgres, "orders/0", "127.0.0.1:41001", "/box/../boxes/x"),
		"a neighbour with like a name":   sandboxInstance(targets.Postgres, "orders/0", "127.0.0.1:41001", "/box2/x"),
		"reachable from elsewhere":       sandboxInstance(targets.Postgres, "orders/0", "10.0.0.5:5432", "/box/x"),
		"a name that is not this host's": sandboxInstance(targets.Postgres, "orders/0", "db.example:5432", "/box/x"),
		"a primary":                      {Kind: targets.Postgres, Role: targets.Primary, Address: "127.0.0.1:41001", DataDir: "/box/x"},
	} {
		if iso, f := ProveIsolation("b1", "/box", append(slices.Clone(good), in), prod, off); iso.Proven || f.Severity != targets.Failed {
			t.Errorf("%s: %+v", name, iso)
		}
	}

	if iso, _ := ProveIsolation("b1", "/box", nil, prod, off); iso.Proven {
		t.Error("isolation of nothing is proven")
	}

	if iso, f := ProveIsolation("b1", "/box", good, nil, off); iso.Proven || f.Severity != targets.Warned {
		t.Errorf("a comparison with nothing passes: %+v", f)
	}
}

func facts() Facts {
	x := timing()
	x.Cut.Shards[0].Position = targets.Position{Kind: targets.Postgres, Timeline: targets.PostgresTimeline("7412000000000000001", 3), Offset: 0x16B374D848, RestorePoint: "drctl:x"}
	d := def(Latest)
	d.Participants = []string{"R. Okafor (duty engineer)", "cron"}

	return Facts{Def: d, Tool: evidence.Tool{Name: "drctl", Version: "0.1.0"}, Generated: at(91), Started: t0, Ended: at(31), Finished: at(90), Cut: x.Cut, Sample: x.Sample, Steps: x.Steps,
		Plan:     evidence.Plan{ID: "p", SHA256: "00"},
		Findings: []targets.Finding{{Check: "starts", Subject: "orders/9", Severity: targets.Passed}},
		Checked:  map[string][]targets.Finding{"orders/9": {{Check: "starts", Subject: "orders/9", Severity: targets.Passed, Expected: "answers"}}},
		Outcomes: map[string]targets.Outcome{"orders/10": {Reached: x.Cut.Shards[0].Position, Bytes: 7}},
		Bases:    map[string]targets.Artifact{"orders/10": {ID: "b1", Finished: at(-3600)}}}
}

func TestRecordIsWholeAndFinalizesAndValidates(t *testing.T) {
	r := Record(facts())
	if !r.Verdict.Passed {
		t.Fatalf("%+v", r.Verdict)
	}

	sealed, doc, err := evidence.Finalize(r)
	if err != nil {
		t.Fatal(err)
	}

	if _, err := evidence.Verify(doc); err != nil {
		t.Fatal(err)
	}

	if strings.Contains(string(doc), "no reason given") {
		i := strings.Index(string(doc), "no reason given")
		t.Errorf("a gap has no reason: %s", doc[max(0, i-120):i])
	}

	schema, err := jsonschema.NewCompiler().Compile("../docs/evidence.schema.json")
	if err != nil {
		t.Fatal(err)
	}

	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatal(err)
	}

	if err := schema.Validate(v); err != nil {
		t.Error(err)
	}

	p := sealed.RecoveryPoint.Shards[2]
	if p.Shard != "orders/10" || p.LSN != "16/B374D848" || p.Timeline != 3 || p.SystemID != "7412000000000000001" || *p.Base.Value != "b1" || *p.BytesMoved.Value != 7 {
		t.Errorf("%+v", p)
	}

	if sealed.Participants[0].Name != "R. Okafor" || *sealed.Participants[0].Role.Value != "duty engineer" || sealed.Participants[1].Role.Reason() == "" {
		t.Errorf("%+v", sealed.Participants)
	}
}

func TestRecordOfADrillThatNeverBegan(t *testing.T) {
	r := Record(Facts{Def: def(Latest), Started: t0, Finished: at(1), Generated: at(1),
		Prechecks: []evidence.Precheck{{Name: "free space", Passed: false, Detail: "no room"}}})
	if r.Verdict.Passed || len(r.Findings) < 2 {
		t.Errorf("%+v", r.Verdict)
	}

	if _, _, err := evidence.Finalize(r); err != nil {
		t.Error(err)
	}
}

func TestRecordOfAFailedPrecheckFails(t *testing.T) {
	f := facts()

	f.Prechecks = []evidence.Precheck{{Name: "free space", Detail: "no room"}}
	if r := Record(f); r.Verdict.Passed || len(r.Findings) == 0 {
		t.Errorf("%+v", r.Verdict)
	}
}

func TestNextDueIsTheSchedulesNextRun(t *testing.T) {
	for _, c := range []struct {
		started time.Time
		every   time.Duration
		want    time.Time
	}{
		{t0, time.Hour, t0.Add(time.Hour)}, // exactly on time: the one after
		{at(130.5), time.Hour, t0.Add(time.Hour)},
		{at(130.5), 24 * time.Hour, time.Date(2026, 3, 15, 0, 0, 0, 0, time.UTC)},
		{at(130.5), 7 * 24 * time.Hour, time.Date(2026, 3, 19, 0, 0, 0, 0, time.UTC)}, // weeks since 1970 begin on Thursdays
	} {
		f := facts()

		f.Started, f.Finished, f.Def.Every = c.started, c.started.Add(time.Minute), c.every
		if got, ok := Record(f).Test.NextDue.Get(); !ok || !got.Equal(c.want) {
			t.Errorf("%v every %v: %v, want %v", c.started, c.every, got, c.want)
		}
	}
}

func TestRecordHoldsNoSecret(t *testing.T) {
	f := facts()
	f.Outcomes["orders/10"] = targets.Outcome{Password: targets.NewSecret("hunter2")}

	b, err := json.Marshal(Record(f))
	if err != nil || strings.Contains(string(b), "hunter2") {
		t.Error("the record holds a password", err)
	}
}

func TestDefinitionSurvivesJSON(t *testing.T) {
	d := def(Random)
	d.Checks = Checks{Quick: true, Assertions: map[string][]targets.Assertion{"orders": {{Name: "a", Query: "q", Want: "1"}}, "orders/1": {{Name: "b", Query: "q", Want: "2"}}}}

	b, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}

	var got Definition
	if err := json.Unmarshal(b, &got); err != nil {
		t.Fatal(err)
	}

	if !reflect.DeepEqual(got, d) {
		t.Errorf("%+v", got)
	}
	err = Definition{Cut: Random, Objectives: evidence.Objectives{RTO: -1}, Checks: Checks{Sums: []Sum{{}}, Objects: []ObjectCheck{{}}, Assertions: map[string][]targets.Assertion{"x": {{}}}}}.Validate()

	var e *fail.Error
	if !errors.As(err, &e) || strings.Count(e.Err.Error(), "\n") != 6 {
		t.Errorf("not every mistake at once: %v", err)
	}
}
