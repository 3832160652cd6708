package activities

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"drctl/drills"
	"drctl/internal/engine"
	"drctl/internal/platform"
	"drctl/internal/report/evidence"
	"drctl/internal/vault"
	"drctl/restore/plan"
	"drctl/targets"
)

// facts turns what the workflow saw into what the record needs. The vault is
// nil when none can be reached; ran says who ran which step, where that is known.
func (a *Activities) facts(ctx context.Context, in FinishIn, v *vault.Vault, planned []byte, ran map[string]engine.ActivityRun) drills.Facts {
	host, _ := os.Hostname()

	f := drills.Facts{Def: in.Drill, Tool: evidence.Tool{Name: "drctl", Version: a.Version, Commit: evidence.KnownIf(a.Commit, "the build does not say")},
		ClockSource: "system clock of host " + host, Generated: in.Finished, Started: in.ordered(), Finished: in.Finished,
		Disaster: in.Disaster, By: in.By, Cut: in.Plan.Cut, Sample: in.Sample, Prechecks: in.Prechecks, Decisions: decisions(in),
		Bases: map[string]targets.Artifact{}, Outcomes: map[string]targets.Outcome{}, Checked: map[string][]targets.Finding{},
		CleanUp: cleanUp(in), Plan: evidence.Plan{ID: in.Plan.ID, SHA256: in.Plan.Hash},
		LostWhy: "the drill compares no journal from outside the stores; the cut's own age bounds the loss"}
	if planned != nil {
		f.Attachments = append(f.Attachments, evidence.Attach(planFile, "application/json", planned))
	}

	for _, s := range in.Plan.Steps {
		if s.Op == plan.OpRestore && s.Base.ID != "" {
			f.Bases[s.Shard.String()] = s.Base
		}
	}

	f.Steps = evidenceSteps(in, ran)
	for _, s := range in.Steps {
		if s.Op == plan.OpRestore && s.Error == "" {
			f.Outcomes[s.Shard.String()] = s.Outcome
		}

		if s.Op == plan.OpVerify && s.Error == "" {
			f.Checked[s.Shard.String()] = s.Findings
		}
		f.Findings = append(f.Findings, s.Findings...)
	}

	f.Findings = append(f.Findings, in.Cross.Findings...)
	for _, e := range in.Errors {
		f.Findings = append(f.Findings, targets.Finding{Check: drills.RanToItsEnd, Subject: in.Drill.Name, Severity: targets.Failed, Detail: e})
	}

	if in.Sandbox.Dir != "" {
		restored := a.addressesOf(in)
		f.Isolation, _ = drills.ProveIsolation(in.Sandbox.ID, in.Sandbox.Dir, restored, a.production(ctx, in.Plan), f.Findings)
	}

	if g, err := a.Platform.Group(in.Drill.Group); err == nil {
		f.Posture = posture(g)
	}

	if v != nil {
		f.VaultURL, f.KeyID = v.Store().URL(), v.Recipient()
		f.Previous = previous(ctx, in, v)
	}

	return f
}

// previous is when the drill ran before, as far as the vault knows.
func previous(ctx context.Context, in FinishIn, v *vault.Vault) (last time.Time) {
	ids, err := v.Reports(ctx, drillReport)
	if err != nil {
		return last // the record says that none was found
	}

	for _, id := range ids {
		var prev evidence.Record
		if v.Report(ctx, drillReport, id, &prev) == nil && prev.Name == in.Drill.Name && prev.Started.After(last) && prev.Started.Before(in.Started) {
			last = prev.Started
		}
	}

	return last
}

func cleanUp(in FinishIn) evidence.CleanUp {
	c := evidence.CleanUp{RemovedAt: evidence.KnownIf(in.RemovedAt, "the sandbox was kept or could not be removed"), LeftOver: in.LeftOver}
	switch {
	case in.Sandbox.Dir == "":
		c.RemovedAt = evidence.Unknown[time.Time]("no sandbox was opened")
	case in.Keep:
		c.LeftOver = append(c.LeftOver, "the sandbox "+in.Sandbox.Dir+", kept as asked")
	case !in.KeptUntil.IsZero():
		c.LeftOver = append(c.LeftOver, "the sandbox "+in.Sandbox.Dir+", kept for inspection until "+in.KeptUntil.UTC().Format(time.RFC3339))
	}

	return c
}

func posture(g platform.Group) evidence.Posture {
	p := g.Policy

	return evidence.Posture{
		Coverage:   evidence.Known(fmt.Sprintf("%d shards of group %s", len(g.Shards), g.Name)),
		Frequency:  evidence.Known(frequency(p)),
		Retention:  evidence.Known(fmt.Sprintf("cuts for %s, bases for %s and at least %d of them", p.Retention.KeepCuts, p.Retention.KeepBasesFor, p.Retention.KeepBases)),
		Encryption: evidence.Known("age (X25519, ChaCha20-Poly1305) and restic (AES-256-CTR, Poly1305-AES), before upload"),
		Copies:     evidence.Known(fmt.Sprintf("vaults %v, %d must hold a byte before it counts as durable", p.Vaults, p.Durability)),
		Lock:       evidence.Unknown[string]("drctl did not ask the vault's store for an object lock"),
	}
}

// decisions are what people and rules chose on the way.
func decisions(in FinishIn) []evidence.Decision {
	rule := func(at time.Time, what, by, why string) evidence.Decision {
		return evidence.Decision{At: at, What: what, By: evidence.Known("rule: " + by), Reason: evidence.KnownIf(why, "the rule gives none")}
	}

	out := []evidence.Decision{{At: in.ordered(), What: "declared", By: evidence.KnownIf(in.By, "the engine was not told who"),
		Reason: evidence.KnownIf(in.Drill.Trigger, "the drill's definition names no trigger")}}
	if id := in.Plan.Cut.ID; id != "" {
		out = append(out, rule(in.Planned, "recover cut "+id, in.Sample.Method, fmt.Sprintf("one of %d that could be chosen", in.Sample.Population)))
	}

	for _, g := range in.Prechecks {
		what := "go"
		if !g.Passed {
			what = "no-go"
		}
		out = append(out, rule(g.At, what, "every gate must pass", g.Name+": "+g.Detail))
	}

	switch {
	case in.Sandbox.ID == "":
	case in.Keep:
		out = append(out, evidence.Decision{At: in.Ended, What: "keep the sandbox", By: evidence.KnownIf(in.By, "the engine was not told who"), Reason: evidence.Known("asked for with the drill")})
	case !in.KeptUntil.IsZero():
		out = append(out, rule(in.Ended, "keep the sandbox until "+in.KeptUntil.UTC().Format(time.RFC3339), "sandbox.keep of the configuration", "a step or a check failed"))
	}

	return out
}

// addressesOf rebuilds the restored instances from the steps' own answers,
// because the sandbox is gone by now.
func (a *Activities) addressesOf(in FinishIn) []targets.Instance {
	var out []targets.Instance
	for _, s := range in.Steps {
		if s.Op == plan.OpRestore && s.Address != "" {
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

// The steps of a drill that are not steps of its plan, beside CrossCheckStep.
const (
	startEngineStep   = "start-engine"
	planStep          = "plan"
	openSandboxStep   = "open-sandbox"
	removeSandboxStep = "remove-sandbox"
)

// whoRan maps a drill's steps to the activities that did them.
func whoRan(runs []engine.ActivityRun) map[string]engine.ActivityRun {
	out := map[string]engine.ActivityRun{}
	for _, r := range runs {
		switch r.Name {
		case PickDrillName:
			out[planStep] = r
		case OpenSandboxName:
			out[openSandboxStep] = r
		case CrossCheckName:
			out[CrossCheckStep] = r
		case CloseSandboxName:
			out[removeSandboxStep] = r
		case RestoreShardName, VerifyShardName:
			var in StepIn
			if r.Input(&in) == nil {
				out[in.StepID] = r
			}
		}
	}

	return out
}

// stepLog writes evidence steps with those who ran them.
type stepLog struct {
	ran map[string]engine.ActivityRun
	out []evidence.Step
}

// actor names who ran a step.
func (l *stepLog) actor(id string) string {
	if r := l.ran[id]; r.Worker != "" {
		return "drctl worker " + r.Worker
	}

	return "not recorded: no worker is known to have taken it"
}

func (l *stepLog) add(id, phase string, from, to time.Time, problem string) *evidence.Step {
	if to.Before(from) && !to.IsZero() {
		to = from // the clock of the host was set back in between
	}
	known := func(t time.Time) evidence.Instant { return evidence.KnownIf(t, "it did not happen") }

	s := evidence.Step{ID: id, Phase: phase, Actor: l.actor(id), PlannedStart: noPlan(), PlannedFinish: noPlan(),
		Started: known(from), Finished: known(to), Attempts: l.ran[id].Attempts, Outcome: evidence.StepDone, Error: problem}
	if problem != "" || to.IsZero() {
		s.Outcome = evidence.StepFailed
	}
	l.out = append(l.out, s)

	return &l.out[len(l.out)-1]
}

func (l *stepLog) notRun(id, phase, why string) {
	l.out = append(l.out, evidence.Step{ID: id, Phase: phase, Actor: "nobody", PlannedStart: noPlan(), PlannedFinish: noPlan(),
		Started: evidence.Unknown[time.Time]("the step did not run"), Finished: evidence.Unknown[time.Time]("the step did not run"),
		Outcome: evidence.StepNotRun, NotRunReason: why})
}

func noPlan() evidence.Instant {
	return evidence.Unknown[time.Time]("the plan sets an order and limits, not times")
}

func evidenceSteps(in FinishIn, ran map[string]engine.ActivityRun) []evidence.Step {
	l := &stepLog{ran: ran}
	if !in.Ordered.IsZero() {
		s := l.add(startEngineStep, drills.Prepare, in.Ordered, in.Started, "")
		s.Actor, s.Attempts = "drctl drill run, by "+in.By, 1
	}

	l.add(planStep, drills.Prepare, in.Started, in.Planned, in.PlanError)

	if in.PlanError == "" {
		l.add(openSandboxStep, drills.Prepare, in.Planned, in.Opened, in.OpenError)
	}

	planned := map[string]plan.Step{}
	for _, p := range in.Plan.Steps {
		planned[p.ID] = p
	}

	phase := func(op plan.Op) string {
		if op == plan.OpVerify {
			return drills.Verify
		}

		return drills.Restore
	}
	for _, s := range in.Steps {
		e := l.add(s.StepID, phase(s.Op), s.Started, s.Finished, s.Error)

		e.Shard = s.Shard.String()
		if p, ok := planned[s.StepID]; ok {
			e.InputSHA256 = evidence.Known(digest(p))
		}
		e.OutputSHA256 = evidence.Known(digest(s))
	}

	if in.Cross.StepID != "" {
		l.add(CrossCheckStep, drills.Verify, in.Cross.Started, in.Cross.Finished, in.Cross.Error)
	}

	for _, n := range in.NotRun {
		p, ok := planned[n.StepID]
		switch {
		case ok:
			l.notRun(n.StepID, phase(p.Op), n.Why)
			l.out[len(l.out)-1].Shard = p.Shard.String()
		case n.StepID == CrossCheckStep:
			l.notRun(n.StepID, drills.Verify, n.Why)
		default:
			l.notRun(n.StepID, drills.Prepare, n.Why)
		}
	}

	switch {
	case in.Sandbox.ID == "":
	case in.Keep || !in.KeptUntil.IsZero():
		l.notRun(removeSandboxStep, drills.CleanUp, "the sandbox is kept for inspection")
	case len(in.LeftOver) > 0:
		l.add(removeSandboxStep, drills.CleanUp, in.Ended, in.Finished, in.LeftOver[0])
	default:
		l.add(removeSandboxStep, drills.CleanUp, in.Ended, in.RemovedAt, "")
	}

	return l.out
}

func digest(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // plain data always marshals
	}
	h := sha256.Sum256(b)

	return hex.EncodeToString(h[:])
}
