package plan

import (
	"time"

	"drctl/targets"
)

// StepOut is what a step did. Attempt counts its attempts; Started is when the
// first of them was asked for, once there was more than one.
type StepOut struct {
	StepID   string          `json:"step_id"`
	Shard    targets.ShardID `json:"shard"`
	Op       Op              `json:"op"`
	Started  time.Time       `json:"started"`
	Finished time.Time       `json:"finished"`
	Attempt  int             `json:"attempt"`
	Address  string          `json:"address,omitempty"`
	Outcome  targets.Outcome `json:"outcome,omitzero"`
	// Before is when an earlier run of the same restore into the same instance
	// had done the step, whose outcome this is; nothing has changed there since.
	Before   time.Time         `json:"before,omitzero"`
	Findings []targets.Finding `json:"findings,omitempty"`
	// Error is set when the step could not be done and the plan went on to
	// report it. A check that was done and found something wrong is a finding.
	Error string `json:"error,omitempty"`
	// Checks counts the findings where they were left out: see Brief.
	Checks Checks `json:"checks,omitzero"`
}

// Checks counts findings by what they say.
type Checks struct {
	Passed  int `json:"passed,omitempty"`
	Warned  int `json:"warned,omitempty"`
	Skipped int `json:"skipped,omitempty"`
	Failed  int `json:"failed,omitempty"`
}

// Tally counts the step's findings, or says how many there were.
func (s StepOut) Tally() Checks {
	c := s.Checks

	for _, f := range s.Findings {
		switch f.Severity {
		case targets.Passed:
			c.Passed++
		case targets.Warned:
			c.Warned++
		case targets.Skipped:
			c.Skipped++
		default:
			c.Failed++
		}
	}

	return c
}

// Brief is the outcome without what grows with the number of checks: it counts
// the findings. What is left out stays in the engine's history of the step.
func (s StepOut) Brief() StepOut {
	s.Checks = s.Tally()
	s.Findings, s.Outcome = nil, targets.Outcome{}

	return s
}

// Detailed is the outcome with what Brief left out of it, which is in full.
func (s StepOut) Detailed(full StepOut) StepOut {
	s.Findings, s.Outcome, s.Checks = full.Findings, full.Outcome, Checks{}

	return s
}

// Verified reports whether a check of the step passed and none failed: one in
// which all were skipped has shown nothing.
func (s StepOut) Verified() bool {
	c := s.Tally()

	return s.Error == "" && c.Failed == 0 && c.Passed > 0
}

// NotRun is a step that never began.
type NotRun struct {
	StepID string `json:"step_id"`
	Why    string `json:"why"`
}
