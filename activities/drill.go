package activities

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"drctl/drills"
	"drctl/internal/engine"
	"drctl/internal/fail"
	"drctl/internal/report"
	"drctl/internal/report/evidence"
	"drctl/internal/sandbox"
	"drctl/internal/vault"
	"drctl/restore"
	"drctl/targets"
)

// PickIn asks for a drill's cut and plan.
type PickIn struct {
	Drill drills.Definition `json:"drill"`
	Now   time.Time         `json:"now"`
}

// PickOut is a drill's cut and plan.
type PickOut struct {
	Plan   restore.Plan  `json:"plan"`
	Sample drills.Sample `json:"sample"`
}

// CrossIn asks for the checks that span stores.
type CrossIn struct {
	Drill   drills.Definition `json:"drill"`
	Plan    restore.Plan      `json:"plan"`
	Sandbox SandboxRef        `json:"sandbox"`
}

// FinishIn is everything that a drill did, for its record.
type FinishIn struct {
	Drill    drills.Definition `json:"drill"`
	Run      string            `json:"run"`
	By       string            `json:"by"`
	Plan     restore.Plan      `json:"plan,omitzero"`
	Sample   drills.Sample     `json:"sample,omitzero"`
	Sandbox  SandboxRef        `json:"sandbox,omitzero"`
	Keep     bool              `json:"keep"`
	Disaster time.Time         `json:"disaster,omitzero"`
	Started  time.Time         `json:"started"`
	Planned  time.Time         `json:"planned,omitzero"`
	Opened   time.Time         `json:"opened,omitzero"`
	Finished time.Time         `json:"finished"`
	Steps    []StepOut         `json:"steps"`
	NotRun   []string          `json:"not_run,omitempty"`
	Cross    StepOut           `json:"cross,omitzero"`
	Errors   []string          `json:"errors,omitempty"`
	// RemovedAt is when the sandbox was gone; LeftOver names what was not.
	RemovedAt time.Time `json:"removed_at,omitzero"`
	LeftOver  []string  `json:"left_over,omitempty"`
}

// DrillOut is a drill's outcome and where its report is.
type DrillOut struct {
	ID      string          `json:"id"`
	Passed  bool            `json:"passed"`
	Record  json.RawMessage `json:"record"`
	JSON    string          `json:"json_file"`
	HTML    string          `json:"html_file"`
	Vaults  []string        `json:"vaults"`
	Sandbox string          `json:"sandbox,omitempty"` // when it was kept
}

// PickDrill chooses the cut and plans its restore.
func (a *Activities) PickDrill(ctx context.Context, in PickIn) (PickOut, error) {
	out, err := a.pickDrill(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) pickDrill(ctx context.Context, in PickIn) (PickOut, error) {
	stop := beatEvery(ctx, 2*time.Second, func() Beat { return Beat{Phase: "plan"} })
	defer stop()
	v, err := a.Platform.Vault(ctx, in.Drill.Vault)
	if err != nil {
		return PickOut{}, err
	}
	goal := restore.Goal{Group: in.Drill.Group, Cut: restore.Latest, Vault: in.Drill.Vault, Into: restore.Sandbox}
	// The group comes from the vault alone: a drill must not need the rest.
	inv, err := Inventory(ctx, v, goal, nil)
	if err != nil {
		return PickOut{}, err
	}
	var seed [8]byte
	_, _ = rand.Read(seed[:]) // never fails
	cut, sample, err := drills.PickCut(inv.Cuts, in.Drill, in.Now, int64(binary.BigEndian.Uint64(seed[:])>>1))
	if err != nil {
		return PickOut{}, err
	}
	goal.Cut = cut.ID
	plan, err := restore.Build(goal, inv, in.Now)
	return PickOut{Plan: plan, Sample: sample}, err
}

// CrossCheck runs the sums and object checks of a drill in its sandbox.
func (a *Activities) CrossCheck(ctx context.Context, in CrossIn) (StepOut, error) {
	out, err := a.crossCheck(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) crossCheck(parent context.Context, in CrossIn) (StepOut, error) {
	ctx, cancel := stoppable(parent)
	defer cancel(nil)
	out := stepOut(ctx, StepIn{})
	out.StepID = "cross-check"
	restored, err := restoredIn(in.Sandbox, in.Plan)
	if err != nil {
		return out, err
	}
	beat := newBeater(ctx, targets.ShardID{Target: in.Drill.Group, Shard: "cross-check"})
	stop := beatEvery(ctx, 5*time.Second, beat.current)
	defer stop()
	out.Findings, err = drills.CrossCheck(ctx, in.Drill, restored, beat.progress)
	if err != nil {
		return out, err
	}
	_, isolated := drills.ProveIsolation(in.Sandbox.ID, in.Sandbox.Dir, restored, a.production(ctx, in.Plan))
	out.Findings = append(out.Findings, isolated)
	out.Finished = time.Now().UTC()
	return out, nil
}

func restoredIn(box SandboxRef, plan restore.Plan) ([]targets.Instance, error) {
	var out []targets.Instance
	for _, s := range plan.Steps {
		if s.Op != restore.OpRestore {
			continue
		}
		inst, err := SandboxInstance(box.Dir, s.Shard)
		if err != nil {
			return out, err
		}
		out = append(out, inst)
	}
	return out, nil
}

// production lists the configured instances of a plan's shards. Where there is
// no configuration, as on the worst day, the list is empty.
func (a *Activities) production(ctx context.Context, plan restore.Plan) []targets.Instance {
	var out []targets.Instance
	for _, s := range plan.Steps {
		if s.Op != restore.OpRestore {
			continue
		}
		for _, r := range a.Platform.Regions(s.Shard) {
			if in, err := a.Platform.Instance(ctx, s.Shard, r); err == nil {
				out = append(out, in)
			}
		}
	}
	return out
}

// FinishDrill writes the record of a drill, whatever came of it, to this
// worker's state directory and to every vault that can be reached.
func (a *Activities) FinishDrill(ctx context.Context, in FinishIn) (DrillOut, error) {
	out, err := a.finishDrill(ctx, in)
	return out, engine.EncodeError(err)
}

func (a *Activities) finishDrill(ctx context.Context, in FinishIn) (DrillOut, error) {
	stop := beatEvery(ctx, 2*time.Second, func() Beat { return Beat{Phase: "report"} })
	defer stop()
	v, err := a.Platform.Vault(ctx, in.Drill.Vault)
	if err != nil {
		return DrillOut{}, err
	}
	facts := a.facts(ctx, in, v)
	rec, doc, err := evidence.Seal(drills.Record(facts))
	if err != nil {
		return DrillOut{}, err
	}
	out := DrillOut{ID: rec.ID, Passed: rec.Verdict.Passed, Record: doc}
	if in.Keep {
		out.Sandbox = in.Sandbox.Dir
	}
	dir := filepath.Join(a.StateDir, "reports")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return out, fail.New(fail.Denied, "drill: write report", dir, "", err)
	}
	out.JSON, out.HTML = filepath.Join(dir, rec.ID+".json"), filepath.Join(dir, rec.ID+".html")
	if err := sandbox.WriteFileSync(out.JSON, doc, 0o644); err != nil {
		return out, err
	}
	if err := writeFile(out.HTML, func(w io.Writer) error { return report.HTML(w, rec) }); err != nil {
		return out, err
	}
	// The vault that was read gets it; the other regions' if they are there.
	set := vault.Set{Vaults: []*vault.Vault{v}, Durability: 1}
	if more, err := a.Platform.Set(ctx, in.Drill.Group, in.Drill.Vault); err == nil {
		set.Vaults = more.Vaults
	}
	if _, err := set.SaveReport(ctx, "drill", rec.ID, json.RawMessage(doc)); err != nil && !fail.Is(err, fail.Conflict) {
		return out, err
	}
	for _, v := range set.Vaults {
		out.Vaults = append(out.Vaults, v.Region())
	}
	return out, nil
}

func writeFile(path string, f func(io.Writer) error) error {
	w, err := os.Create(path)
	if err != nil {
		return fail.New(fail.Exhausted, "write", path, "", err)
	}
	if err := f(w); err != nil {
		_ = w.Close()
		return fail.New(fail.Internal, "write", path, "", err)
	}
	if err := w.Close(); err != nil {
		return fail.New(fail.Exhausted, "write", path, "", err)
	}
	return nil
}

// facts turns what the workflow saw into what the record needs.
func (a *Activities) facts(ctx context.Context, in FinishIn, v *vault.Vault) drills.Facts {
	host, _ := os.Hostname()
	f := drills.Facts{Def: in.Drill, Tool: evidence.Tool{Name: "drctl", Version: a.Version, Commit: evidence.KnownIf(a.Commit, "the build does not say")},
		ClockSource: "system clock of host " + host, Generated: time.Now().UTC(), Started: in.Started, Finished: in.Finished,
		Disaster: in.Disaster, By: in.By, Cut: in.Plan.Cut, Sample: in.Sample,
		Bases: map[string]targets.Artifact{}, Outcomes: map[string]targets.Outcome{},
		VaultURL: v.Store().URL(), KeyID: v.Recipient(),
		CleanUp: evidence.CleanUp{RemovedAt: evidence.KnownIf(in.RemovedAt, "the sandbox was kept or could not be removed"), LeftOver: in.LeftOver},
		Plan:    evidence.Plan{ID: in.Plan.ID, SHA256: in.Plan.Hash},
		LostWhy: "the drill compares no journal from outside the stores; the cut's own age bounds the loss"}
	if in.Keep && in.Sandbox.Dir != "" {
		f.CleanUp.LeftOver = append(f.CleanUp.LeftOver, "the sandbox "+in.Sandbox.Dir+", kept as asked")
	}
	for _, s := range in.Plan.Steps {
		if s.Op == restore.OpRestore && s.Base.ID != "" {
			f.Bases[s.Shard.String()] = s.Base
		}
	}
	f.Steps = a.evidenceSteps(in)
	for _, s := range in.Steps {
		if s.Op == restore.OpRestore && s.Error == "" {
			f.Outcomes[s.Shard.String()] = s.Outcome
		}
		f.Findings = append(f.Findings, s.Findings...)
	}
	f.Findings = append(f.Findings, in.Cross.Findings...)
	for _, e := range in.Errors {
		f.Findings = append(f.Findings, targets.Finding{Check: "the drill ran to its end", Subject: in.Drill.Name, Severity: targets.Failed, Detail: e})
	}
	if in.Sandbox.Dir != "" {
		restored := a.addressesOf(in)
		f.Isolation, _ = drills.ProveIsolation(in.Sandbox.ID, in.Sandbox.Dir, restored, a.production(ctx, in.Plan))
	}
	if g, err := a.Platform.Group(in.Drill.Group); err == nil {
		p := g.Policy
		f.Posture = evidence.Posture{
			Coverage:   evidence.Known(fmt.Sprintf("%d shards of group %s", len(g.Shards), g.Name)),
			Frequency:  evidence.KnownIf("", "the schedule is not part of the worker's view"),
			Retention:  evidence.Known(fmt.Sprintf("cuts for %s, bases for %s and at least %d of them", p.Retention.KeepCuts, p.Retention.KeepBasesFor, p.Retention.KeepBases)),
			Encryption: evidence.Known("age (X25519, ChaCha20-Poly1305) and restic (AES-256-CTR, Poly1305-AES), before upload"),
			Copies:     evidence.Known(fmt.Sprintf("vaults %v, %d must hold a byte before it counts as durable", p.Vaults, p.Durability)),
			Lock:       evidence.KnownIf("", "drctl did not ask the vault's store for an object lock"),
		}
	}
	if ids, err := v.Reports(ctx, "drill"); err == nil {
		for _, id := range ids {
			var prev evidence.Record
			if v.Report(ctx, "drill", id, &prev) == nil && prev.Name == in.Drill.Name && prev.Started.After(f.Previous) && prev.Started.Before(in.Started) {
				f.Previous = prev.Started
			}
		}
	}
	return f
}

// addressesOf rebuilds the restored instances from the steps' own answers,
// because the sandbox is gone by now.
func (a *Activities) addressesOf(in FinishIn) []targets.Instance {
	var out []targets.Instance
	for _, s := range in.Steps {
		if s.Op == restore.OpRestore && s.Address != "" {
			kind := targets.Kind("")
			for _, p := range in.Plan.Steps {
				if p.Shard == s.Shard {
					kind = p.Kind
				}
			}
			out = append(out, targets.Instance{Kind: kind, Shard: s.Shard, Region: "sandbox", Role: targets.Sandbox, Address: s.Address,
				DataDir: filepath.Join(in.Sandbox.Dir, s.Shard.Target+"-"+s.Shard.Shard, "data")})
		}
	}
	return out
}

func (a *Activities) evidenceSteps(in FinishIn) []evidence.Step {
	host, _ := os.Hostname()
	known := func(t time.Time) evidence.Instant { return evidence.KnownIf(t, "it did not happen") }
	noPlan := evidence.Unknown[time.Time]("the plan sets an order and limits, not times")
	step := func(id, phase string, from, to time.Time, attempts int, problem string) evidence.Step {
		s := evidence.Step{ID: id, Phase: phase, Actor: "drctl worker on " + host, PlannedStart: noPlan, PlannedFinish: noPlan,
			Started: known(from), Finished: known(to), Attempts: max(1, attempts), Outcome: evidence.StepDone, Error: problem}
		if problem != "" || to.IsZero() {
			s.Outcome = evidence.StepFailed
		}
		return s
	}
	out := []evidence.Step{step("plan", drills.Prepare, in.Started, in.Planned, 1, ""), step("open-sandbox", drills.Prepare, in.Planned, in.Opened, 1, "")}
	for _, s := range in.Steps {
		phase := drills.Restore
		if s.Op == restore.OpVerify {
			phase = drills.Verify
		}
		e := step(s.StepID, phase, s.Started, s.Finished, s.Attempt, s.Error)
		e.Shard = s.Shard.String()
		for _, p := range in.Plan.Steps {
			if p.ID == s.StepID {
				e.InputSHA256 = evidence.Known(digest(p))
			}
		}
		e.OutputSHA256 = evidence.Known(digest(s))
		out = append(out, e)
	}
	for _, id := range in.NotRun {
		out = append(out, evidence.Step{ID: id, Phase: drills.Restore, Actor: "drctl worker on " + host, PlannedStart: noPlan, PlannedFinish: noPlan,
			Started: known(time.Time{}), Finished: known(time.Time{}), Outcome: evidence.StepNotRun, NotRunReason: "a step that it needs failed, or the drill was cancelled"})
	}
	if in.Cross.StepID != "" {
		out = append(out, step("cross-check", drills.Verify, in.Cross.Started, in.Cross.Finished, in.Cross.Attempt, in.Cross.Error))
	}
	if in.Sandbox.ID != "" && !in.Keep {
		out = append(out, step("remove-sandbox", drills.CleanUp, in.Finished, in.RemovedAt, 1, ""))
	}
	return out
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // plain data always marshals
	}
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}
