package answer

import (
	"time"

	"drctl/drills"
	"drctl/internal/human"
	"drctl/internal/report/evidence"
)

// Drill is one drill in the list. Last is its last verdict: a cancelled run
// gives none, and is named beside it when it is newer.
type Drill struct {
	Name      string         `json:"name"`
	Group     string         `json:"group"`
	Vault     string         `json:"vault"`
	Every     time.Duration  `json:"every_ns"`
	Last      string         `json:"last_report,omitempty"`
	LastAt    time.Time      `json:"last_at,omitzero"`
	Passed    *bool          `json:"passed,omitempty"`
	RTO, RPO  string         // for people; see the next two
	RTOSpan   *time.Duration `json:"rto_ns,omitempty"`
	RPOSpan   *time.Duration `json:"rpo_ns,omitempty"`
	Cancelled string         `json:"cancelled_report,omitempty"`
}

// Fill adds what a vault says of the drill.
func (r *Drill) Fill(l drills.Last) {
	r.Cancelled = l.Cancelled.ID
	if rec := l.Verdict; rec.ID != "" {
		r.Last, r.LastAt, r.Passed = rec.ID, rec.Started, &rec.Verdict.Passed
		r.RTO, r.RTOSpan = spanText(rec.Measured.RTO)
		r.RPO, r.RPOSpan = spanText(rec.Measured.RPO)
	}
}

func spanText(s evidence.Maybe[time.Duration]) (string, *time.Duration) {
	if d, ok := s.Get(); ok {
		return human.Duration(d), &d
	}

	return "not measured", nil
}
