package plan

import (
	"slices"
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
}

// FailedChecks are the findings that say that something is wrong.
func (s StepOut) FailedChecks() []targets.Finding {
	var out []targets.Finding
	for _, f := range s.Findings {
		if f.Severity != targets.Passed && f.Severity != targets.Warned && f.Severity != targets.Skipped {
			out = append(out, f)
		}
	}
	return out
}

// Verified reports whether a check of the step passed and none failed: one in
// which all were skipped has shown nothing.
func (s StepOut) Verified() bool {
	return s.Error == "" && len(s.FailedChecks()) == 0 &&
		slices.ContainsFunc(s.Findings, func(f targets.Finding) bool { return f.Severity == targets.Passed })
}

// NotRun is a step that never began.
type NotRun struct {
	StepID string `json:"step_id"`
	Why    string `json:"why"`
}
