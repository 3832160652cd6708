package debrief

import (
	"time"

	"drctl/drills"
	"drctl/internal/report/evidence"
	"drctl/internal/sandbox"
	"drctl/restore/plan"
)

// Seen is everything that a drill did, as the one who ran it saw it. Its JSON
// form stands in the histories of the engine.
type Seen struct {
	Drill     drills.Definition   `json:"drill"`
	Run       string              `json:"run"`
	By        string              `json:"by"`
	Carried   plan.Carried        `json:"plan_ref,omitzero"`
	Plan      plan.Run            `json:"-"` // what Carried names, once it is read
	Sample    evidence.Sample     `json:"sample,omitzero"`
	Sandbox   sandbox.Ref         `json:"sandbox,omitzero"`
	Prechecks []evidence.Precheck `json:"gates,omitempty"`
	// Keep leaves the sandbox as asked; KeptUntil is the end of a failed
	// drill's sandbox, which removes itself.
	Keep      bool      `json:"keep"`
	KeptUntil time.Time `json:"kept_until,omitzero"`
	Disaster  time.Time `json:"disaster,omitzero"`
	// Ordered is when the recovery was ordered, when that was before Started: the
	// command started an engine first.
	Ordered time.Time `json:"ordered,omitzero"`
	// The workflow's clock: Planned and Opened are the ends of planning and of
	// opening the sandbox, however they ended; Ended is when the clean-up began.
	Started  time.Time `json:"started"`
	Planned  time.Time `json:"planned,omitzero"`
	Opened   time.Time `json:"opened,omitzero"`
	Ended    time.Time `json:"ended,omitzero"`
	Finished time.Time `json:"finished"`
	// PlanError and OpenError say why there is no plan or no sandbox.
	PlanError string         `json:"plan_error,omitempty"`
	OpenError string         `json:"open_error,omitempty"`
	Steps     []plan.StepOut `json:"steps"`
	NotRun    []plan.NotRun  `json:"not_run,omitempty"`
	Cross     plan.StepOut   `json:"cross,omitzero"`
	// Errors ended the drill as a whole, such as its cancellation.
	Errors []string `json:"errors,omitempty"`
	// RemovedAt is when the sandbox was gone; LeftOver names what was not.
	RemovedAt time.Time `json:"removed_at,omitzero"`
	LeftOver  []string  `json:"left_over,omitempty"`
}

// ordered is the order to recover.
func (in Seen) ordered() time.Time {
	if in.Ordered.IsZero() || in.Ordered.After(in.Started) {
		return in.Started
	}

	return in.Ordered
}
