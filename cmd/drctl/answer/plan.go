package answer

import (
	"time"

	"drctl/restore/choices"
	"drctl/restore/forecast"
	"drctl/restore/plan"
)

// PlanShown is a plan, and of a failover both choices with what is foreseen of them. The latter is no
// part of the plan's hash.
type PlanShown struct {
	plan.Definition
	Choices *choices.Table `json:"choices,omitempty"`
}

// Foreseen is what past runs and drills say of a plan.
type Foreseen struct {
	Group string    `json:"group"`
	Mode  plan.Mode `json:"mode"`
	From  string    `json:"from"`
	To    string    `json:"to"`
	Plan  string    `json:"plan"` // hash
	// Objective is the time to recover that was promised; 0 when none was.
	Objective    time.Duration         `json:"objective_ns"`
	Verification forecast.Verification `json:"verification"`
	Forecast     forecast.Forecast     `json:"forecast"`
	// Unread is what vaults did not tell.
	Unread string `json:"unread,omitempty"`
}

// Merged is two vaults that were merged.
type Merged struct {
	// Between are their regions.
	Between []string `json:"between"`
	// Said is for people: how much went where.
	Said string `json:"said"`
}
