package history

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"drctl/restore/forecast"
	"drctl/restore/machine"
	"drctl/restore/plan"
	"drctl/restore/runs"
)

// Entry is one run of a plan, or one drill of it.
type Entry struct {
	ID string `json:"id"`
	// Drill says that it was one, and not the real day.
	Drill bool      `json:"drill,omitempty"`
	Plan  string    `json:"plan"` // hash
	Mode  plan.Mode `json:"mode"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	By    string    `json:"by"`
	// Finished is zero while no vault knows that it ended.
	Started  time.Time     `json:"started"`
	Finished time.Time     `json:"finished,omitzero"`
	Took     time.Duration `json:"took_ns,omitempty"`
	Verdict  string        `json:"verdict"`
	// Passed says that it counts for the plan; Why says why it does not.
	Passed bool   `json:"passed"`
	Why    string `json:"why,omitempty"`
	// apart says that stores were not brought together although it was of the plan.
	apart bool
	// Steps are how long its steps took that were done.
	Steps []forecast.Sample `json:"-"`
}

// open reports whether nobody knows of its end.
func (e Entry) open() bool { return e.Finished.IsZero() }

// joined reports whether both regions had the same behind it: a planned run that got to its end.
func (e Entry) joined() bool {
	return e.Verdict == string(machine.Reached) && e.Mode != plan.ModeFailover && !e.apart
}

// rehearsal is what it says of the plan.
func (e Entry) rehearsal() forecast.Rehearsal {
	r := forecast.Rehearsal{ID: e.ID, Definition: e.Plan, Passed: e.Passed, At: e.Finished, Run: !e.Drill, Open: e.open(), Why: e.Why}
	if r.Open {
		r.At = e.Started
	}

	return r
}

// ended is what is read of how a run ended: see workflows/recovery.Out.
type ended struct {
	Verdict  machine.Verdict `json:"verdict"`
	Started  time.Time       `json:"started"`
	Finished time.Time       `json:"finished"`
	Steps    []endedStep     `json:"steps"`
	Laid     []struct {
		Step  string `json:"step"`
		Bytes int64  `json:"bytes"`
	} `json:"laid"`
}

// bytes are those that a step has moved; 0 where that is not known.
func (e ended) bytes(step string) int64 {
	for _, l := range e.Laid {
		if l.Step == step {
			return l.Bytes
		}
	}

	return 0
}

type endedStep struct {
	ID       string         `json:"id"`
	Op       plan.Op        `json:"op"`
	Status   machine.Status `json:"status"`
	Waived   string         `json:"waived"`
	Error    string         `json:"error"`
	Started  time.Time      `json:"started"`
	Finished time.Time      `json:"finished"`
	Inside   []struct {
		ID     string         `json:"id"`
		Status machine.Status `json:"status"`
		Took   time.Duration  `json:"took_ns"`
	} `json:"inside"`
}

// began is when a run began: by its record, or by its id where an older version wrote that.
func began(p runs.Promotion) time.Time {
	const layout = "20060102T150405"

	if !p.At.IsZero() {
		return p.At
	}

	t, err := time.Parse(layout, p.Run[:min(len(p.Run), len(layout))])
	if err != nil {
		return time.Time{}
	}

	return t
}

// entry makes the entry of a run; e is nil while no vault knows that it ended.
func entry(p runs.Promotion, e *ended) Entry {
	out := Entry{ID: p.Run, Plan: p.Plan, Mode: p.Mode, From: p.From, To: p.To, By: p.By, Started: began(p), Verdict: string(machine.Open)}
	if e == nil {
		return out
	}

	if out.Started.IsZero() || !e.Started.IsZero() {
		out.Started = e.Started
	}

	out.Finished, out.Verdict = e.Finished, string(e.Verdict)
	if out.Finished.IsZero() { // it is known that it ended, not when
		out.Finished = out.Started
	}
	out.Took = max(0, out.Finished.Sub(out.Started))
	out.Why, out.Steps = e.why(), e.samples()
	out.Passed, out.apart = out.Why == "", e.apart()

	return out
}

// why says why a run does not count for its plan; "" when it does. What was checked has to
// have passed, and what the plan says has to have been done: what people passed over has shown nothing, and
// neither has a run without any check.
func (e ended) why() string {
	if e.Verdict != machine.Reached {
		return strings.ReplaceAll(string(e.Verdict), "-", " ")
	}

	checked := false

	for _, s := range e.Steps {
		switch done := s.Status == machine.Done && s.Waived == ""; {
		case s.passedOver():
			return fmt.Sprintf("%s was passed over by %s", s.ID, s.Waived)
		case s.Op != plan.OpVerify:
		case done:
			checked = true
		case s.Error != "":
			return fmt.Sprintf("%s: %s", s.ID, s.Error)
		default:
			return s.ID + " was not done"
		}
	}

	if !checked {
		return "nothing was checked"
	}

	return ""
}

// passedOver reports whether people had a step counted as done that was not. That they vouch for what is to be
// fenced, and approve alone, is of the plan.
func (s endedStep) passedOver() bool {
	return s.Waived != "" && s.Waived != machine.OtherMode && s.Op != plan.OpFence && s.Op != plan.OpApprove
}

// apart reports whether a store that took writes on both sides was not reconciled.
func (e ended) apart() bool {
	return slices.ContainsFunc(e.Steps, func(s endedStep) bool {
		return s.Op == plan.OpReconcile && (s.Status != machine.Done || s.Waived != "")
	})
}

// samples are how long the steps took that were done, those of a section one by one.
func (e ended) samples() (out []forecast.Sample) {
	for _, s := range e.Steps {
		if s.Status == machine.Done && s.Waived == "" && s.Op != plan.OpSection && !s.Started.IsZero() && !s.Finished.Before(s.Started) {
			out = append(out, forecast.Sample{Step: s.ID, Do: s.Op, Took: s.Finished.Sub(s.Started), Bytes: e.bytes(s.ID)})
		}

		for _, x := range s.Inside {
			if x.Status == machine.Done && x.Took > 0 {
				out = append(out, forecast.Sample{Step: x.ID, Do: action(x.ID), Took: x.Took})
			}
		}
	}

	return out
}

// action is what a step of a section does, by the name that a derived plan gives it. Moves of
// routes are told apart by their step alone.
func action(id string) plan.Op {
	for _, op := range []plan.Op{plan.OpClaim, plan.OpFence, plan.OpDrain, plan.OpFeed, plan.OpPromote, plan.OpFollow, plan.OpResolve} {
		if id == string(op) || strings.HasPrefix(id, string(op)+"-") {
			return op
		}
	}

	return ""
}
