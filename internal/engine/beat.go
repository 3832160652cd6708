package engine

import (
	"encoding/json"
	"time"

	"drctl/targets"
)

// Beat is the progress that an activity reports with its heartbeat.
type Beat struct {
	Shard  string  `json:"shard,omitempty"`
	Phase  string  `json:"phase"`
	Done   int64   `json:"done"`
	Total  int64   `json:"total,omitempty"`
	Detail string  `json:"detail,omitempty"`
	Offset uint64  `json:"offset,omitempty"`
	Lag    float64 `json:"lag_seconds,omitempty"`
	// Trouble is what hinders the work that goes on; may be empty.
	Trouble string `json:"trouble,omitempty"`
	// Attempt outlives an activity whose worker died.
	Attempt int `json:"attempt,omitempty"`
	// Moved is when phase or count last changed.
	Moved time.Time `json:"moved,omitzero"`
	// Failing is since when a log could not be followed; zero when it is, or
	// when this is the first attempt.
	Failing time.Time `json:"failing,omitzero"`
	// Taken is a base whose data is stored and which waits for its stream: the
	// next attempt goes on there.
	Taken *TakenBase `json:"taken,omitempty"`
}

// TakenBase is a base that has no record yet, and the region of the vault that
// its data was stored in first.
type TakenBase struct {
	Base  targets.Artifact `json:"base"`
	Vault string           `json:"vault"`
}

// Following is the phase of an activity that follows a log once the log has begun
// to come: what is before it may fail again and again.
const Following = "following"

// Beat is what the activity said last; zero when it has said nothing yet.
func (p Pending) Beat() (b Beat) {
	_ = json.Unmarshal(p.Details, &b)
	return b
}
