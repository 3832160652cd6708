package debrief

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"drctl/drills"
	"drctl/internal/report/evidence"
	"drctl/restore/plan"
)

// The steps of a drill that are not steps of its plan.
const (
	startEngineStep   = "start-engine"
	PlanStep          = "plan"
	OpenSandboxStep   = "open-sandbox"
	CrossCheckStep    = "cross-check" // the checks that span stores
	RemoveSandboxStep = "remove-sandbox"
)

// Ran says which worker took a step, and how often it was tried.
type Ran struct {
	Worker   string // "" when no worker is known to have taken it
	Attempts int
}

// stepLog writes evidence steps with those who ran them.
type stepLog struct {
	ran map[string]Ran
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

func evidenceSteps(in Seen, ran map[string]Ran) []evidence.Step {
	l := &stepLog{ran: ran}
	if !in.Ordered.IsZero() {
		s := l.add(startEngineStep, drills.Prepare, in.Ordered, in.Started, "")
		s.Actor, s.Attempts = "drctl drill run, by "+in.By, 1
	}

	l.add(PlanStep, drills.Prepare, in.Started, in.Planned, in.PlanError)

	if in.PlanError == "" {
		l.add(OpenSandboxStep, drills.Prepare, in.Planned, in.Opened, in.OpenError)
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
		l.notRun(RemoveSandboxStep, drills.CleanUp, "the sandbox is kept for inspection")
	case len(in.LeftOver) > 0:
		l.add(RemoveSandboxStep, drills.CleanUp, in.Ended, in.Finished, in.LeftOver[0])
	default:
		l.add(RemoveSandboxStep, drills.CleanUp, in.Ended, in.RemovedAt, "")
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
