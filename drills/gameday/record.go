package gameday

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"drctl/drills"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
	"drctl/targets"
)

// Made says by which program, and when, a record is made.
type Made struct {
	Tool     evidence.Tool
	Host     string
	At       time.Time
	Previous time.Time
}

// Record judges and writes down a game day. The record is not sealed yet.
func Record(s Seen, by Made) evidence.Record {
	fs := s.findings()
	m := s.measured()
	v := verdict(fs, s.Drill, m, s.Recovered != nil && s.Recovered.Verdict == "reached")
	d := s.Drill

	r := evidence.Record{
		Schema: evidence.Version, ID: "drill-" + d.Name + "-" + targets.IDTime(s.Started), Kind: evidence.GameDay, Name: d.Name,
		GeneratedAt: by.At, Started: s.Started, Finished: s.Finished, Tool: by.Tool,
		Clock: evidence.Clock{Source: "the engine's, for the drill as a whole; system clocks of the hosts that planted faults and ran steps, for these; written on host " + by.Host,
			Synchronised: evidence.Unknown[string]("the worker did not ask the host's time service")},
		Plan: s.plan(), Verdict: v,
		Scope: evidence.Scope{Group: d.Group, Exclusions: []evidence.Exclusion{{What: "a restore", Reason: "a game day is held on the servers themselves"}}},
		Test: evidence.Test{Type: s.kind(), Trigger: cmp.Or(s.Trigger, "manual"), By: evidence.KnownIf(s.By, "the engine was not told who"),
			Previous: evidence.KnownIf(by.Previous, "no earlier record of this drill was found"),
			NextDue:  evidence.KnownIf(drills.NextDue(s.Started, d.Every), "the drill has no schedule")},
		Scenario:     evidence.KnownIf(d.Scenario, "the drill's definition gives none"),
		Hypothesis:   evidence.KnownIf(d.Hypothesis, "the drill's definition gives none"),
		Participants: drills.Participants(d.Participants),
		Absent:       evidence.Unknown[string]("nobody said who should have taken part"),
		Prechecks:    s.Gates, Decisions: s.decisions(), Objectives: d.Objectives, Measured: m, Checks: drills.Checked(fs), Steps: s.steps(),
		CleanUp: s.cleanUp(),
		Isolation: evidence.Isolation{Network: "not isolated: the drill is held on the servers themselves",
			Basis: []string{"a game day touches the servers that its faults and its plan name, and no others"}},
	}
	r.Findings = s.issues(r.ID, v)
	r.GameDay = s.gameDay()
	drills.FillReasons(&r)

	return r
}

// kind says what was rehearsed.
func (s Seen) kind() string {
	what := "game day"
	if s.Drill.Red != nil {
		what = "red drill"
	}

	if s.Drill.Runs() {
		what += ": " + s.Drill.Run
	}

	return what
}

func (s Seen) plan() evidence.Plan {
	p := evidence.Plan{SHA256: s.Plan, Version: evidence.Unknown[string]("plans are named by their content hash"),
		Approver: evidence.KnownIf(strings.Join(s.Approved, ", "), "no approval was wanted"), ApprovedAt: evidence.Unknown[time.Time]("the approvals have their own times")}
	if s.Plan != "" {
		p.ID = s.Drill.Group + " " + s.Drill.Run
	}

	return p
}

func (s Seen) decisions() []evidence.Decision {
	out := []evidence.Decision{{At: s.Started, What: "declared", By: evidence.KnownIf(s.By, "the engine was not told who"), Reason: evidence.Known(cmp.Or(s.Trigger, "manual"))}}

	for _, g := range s.Gates {
		what := "go"
		if !g.Passed {
			what = "no-go"
		}
		out = append(out, evidence.Decision{At: g.At, What: what, By: evidence.Known("rule: every gate must pass"), Reason: evidence.Known(g.Name + ": " + g.Detail)})
	}

	for _, a := range s.Answers {
		if a.Kind == Stopped && a.So {
			out = append(out, evidence.Decision{At: a.At, What: "stop", By: evidence.Known("rule: stop condition of the drill"), Reason: evidence.Known(a.Check.Words())})
		}
	}

	return out
}

// measured compares nothing: it says how long what took.
func (s Seen) measured() evidence.Measured {
	m := evidence.Measured{Phases: s.phases(), RTO: evidence.Unknown[time.Duration]("no recovery is part of the drill"), RPO: evidence.Unknown[time.Duration]("no recovery is part of the drill"),
		RTOMethod: "from the first fault, or from the start of the recovery where nothing was planted before it, to the end of the recovery",
		RPOMethod: "a switchover and a failback lose nothing, or are taken back; of a failover its own statement of loss",
		Lost:      evidence.Unknown[int64]("the drill compares no journal from outside the stores")}

	r := s.Recovered
	if r == nil {
		if s.Drill.Runs() {
			m.RTO, m.RPO = evidence.Unknown[time.Duration]("no recovery has ended"), evidence.Unknown[time.Duration]("no recovery has ended")
		}

		return m
	}

	if r.Verdict != "reached" {
		m.RTO, m.RPO = evidence.Unknown[time.Duration]("the recovery is "+r.Verdict), evidence.Unknown[time.Duration]("the recovery is "+r.Verdict)
		return m
	}

	from := r.Started
	if at := s.firstPlanted(); !at.IsZero() && at.Before(from) {
		from = at
	}
	m.RTO, m.RPO = evidence.Known(r.Finished.Sub(from)), lossOf(r)

	return m
}

// lossOf is the longest time of which something may be lost.
func lossOf(r *Recovered) evidence.Span {
	if r.Loss == nil {
		if r.Mode == "failover" {
			return evidence.Unknown[time.Duration]("the failover has made no statement of loss")
		}

		return evidence.Known(time.Duration(0))
	}

	since, why := r.Loss.LostFrom()

	switch {
	case why != "":
		return evidence.Unknown[time.Duration](why)
	case since.IsZero():
		return evidence.Known(time.Duration(0))
	case r.Loss.Silent.IsZero():
		return evidence.Unknown[time.Duration]("it is not known when the old side was silent")
	}

	return evidence.Known(max(0, r.Loss.Silent.Sub(since)))
}

// steps are those of the recovery, with faults between them.
func (s Seen) steps() (out []evidence.Step) {
	noPlan := evidence.Unknown[time.Time]("the plan sets an order and limits, not times")

	add := func(id, phase, shard, actor string, from, to time.Time, ok bool, problem string) {
		st := evidence.Step{ID: id, Phase: phase, Shard: shard, Actor: actor, PlannedStart: noPlan, PlannedFinish: noPlan, Attempts: 1,
			Started: evidence.KnownIf(from, "it did not happen"), Finished: evidence.KnownIf(to, "it did not happen"), Outcome: evidence.StepDone, Error: human.Clean(problem)}
		if !ok {
			st.Outcome = evidence.StepFailed
		}

		if from.IsZero() {
			st.Outcome, st.Attempts, st.NotRunReason = evidence.StepNotRun, 0, cmp.Or(human.Clean(problem), "it was not reached")
		} else if to.Before(from) {
			st.Finished = evidence.Known(from)
		}
		out = append(out, st)
	}

	for _, p := range s.Planted {
		add("fault "+p.Fault.ID, Detect, p.Fault.On(), "drctl worker", p.Planted, p.Removed, p.Error == "" && p.Left == "" && !p.Removed.IsZero(), cmp.Or(p.Error, p.Left))
	}

	if s.Recovered == nil {
		return out
	}

	for _, x := range s.Recovered.all() {
		add(x.ID, cmp.Or(phaseOf(x.ID), "prepare"), "", "drctl worker", x.Started, x.Finished, x.Status == "done", x.Error)
	}

	return out
}

func (s Seen) cleanUp() evidence.CleanUp {
	c := evidence.CleanUp{RemovedAt: evidence.Unknown[time.Time]("nothing was planted")}
	var last time.Time

	for _, p := range s.Planted {
		switch {
		case p.Intended.IsZero() && p.Planted.IsZero():
		case p.Left != "" || p.Removed.IsZero():
			c.LeftOver = append(c.LeftOver, p.Fault.Words()+": "+cmp.Or(p.Left, "nobody has said that it is gone"))
		case p.Stays != "":
			c.LeftOver = append(c.LeftOver, p.Fault.Words()+": "+p.Stays)
		}

		if p.Removed.After(last) {
			last = p.Removed
		}
	}

	if !last.IsZero() {
		c.RemovedAt = evidence.Known(last)
	}

	return c
}

// issues opens a finding for every failure and warning, with owner and date where the drill
// names them.
func (s Seen) issues(id string, v evidence.Verdict) (out []evidence.Issue) {
	due := time.Time{}
	if s.Drill.Due > 0 {
		due = s.Finished.Add(s.Drill.Due)
	}

	open := func(severity string, titles []string) {
		for _, t := range titles {
			out = append(out, evidence.Issue{ID: fmt.Sprintf("%s-%02d", id, len(out)+1), Severity: severity, Title: t,
				Owner:  evidence.KnownIf(s.Drill.Owner, "to be filled in at the review"),
				Due:    evidence.KnownIf(due, "to be filled in at the review"),
				Closed: evidence.Unknown[string]("the finding is open")})
		}
	}
	open(evidence.Major, v.Failures)
	open(evidence.Minor, v.Warnings)

	return out
}

// gameDay is the part of the record that other drills do not have.
func (s Seen) gameDay() *evidence.GameDayPart {
	g := &evidence.GameDayPart{Run: cmp.Or(s.Drill.Run, None), Definition: s.Drill.Hash(), Outage: evidence.Unknown[time.Duration]("no recovery took writes away and gave them back"), Approvals: append([]string{}, s.Approved...), Proofs: []string{}, Loss: []string{}, Faults: []evidence.Fault{}}

	if s.Drill.Red != nil {
		g.Red = s.Drill.Red.Words()
	}

	for _, p := range s.Planted {
		g.Faults = append(g.Faults, evidence.Fault{ID: p.Fault.ID, What: human.Clean(p.Fault.Words()), Intended: evidence.KnownIf(p.Intended, "it was never begun"), Planted: evidence.KnownIf(p.Planted, cmp.Or(human.Clean(p.Error), "it was not planted")),
			Removed: evidence.KnownIf(p.Removed, cmp.Or(human.Clean(p.Left), "nothing had to be taken away")), Said: human.Clean(p.Words)})
	}

	r := s.Recovered
	if r == nil {
		return g
	}
	g.Recovery, g.From, g.To, g.Outcome = r.Run, r.From, r.To, r.Verdict

	if d, ok := s.outage(); ok {
		g.Outage = evidence.Known(d)
	}

	for _, x := range r.all() {
		if strings.HasPrefix(x.ID, "fence-") && x.Status == "done" {
			g.Proofs = append(g.Proofs, human.Clean(x.ID+": "+cmp.Or(x.Said, "done, by the journal of its section")))
		}
	}

	if r.Loss != nil {
		for _, x := range r.Loss.Shards {
			g.Loss = append(g.Loss, x.Shard.String()+": "+string(x.Verdict))
		}
	}

	return g
}
