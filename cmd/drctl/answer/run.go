package answer

import (
	"time"

	"drctl/restore/readiness"
)

// Started names a run that goes on in the engine.
type Started struct {
	WorkflowID string `json:"workflow_id"`
	RunID      string `json:"run_id"`
}

// Up is what up prints once everything runs.
type Up struct {
	Up      bool          `json:"up"`
	Took    time.Duration `json:"took_ns"`
	Engine  string        `json:"engine"` // host:port
	Regions []string      `json:"regions"`
	// Problems are lines for people, Details the same as values.
	Problems []string            `json:"problems"`
	Details  []readiness.Problem `json:"problem_details"`
	// AllAnswered is false when some stores have not answered yet.
	AllAnswered bool `json:"all_answered"`
}

// Sandbox is one of the sandboxes on a host.
type Sandbox struct {
	ID      string    `json:"id"`
	Dir     string    `json:"dir"`
	Purpose string    `json:"purpose"`
	Run     string    `json:"run,omitempty"` // the workflow that made it
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires,omitzero"` // not there when it stays
}

// SandboxesRemoved are the directories that are gone.
type SandboxesRemoved struct {
	Removed []string `json:"removed"`
}

// Version says what a drctl is and which formats it reads and writes.
type Version struct {
	Version  string `json:"version"`
	Commit   string `json:"commit"`
	Go       string `json:"go"`
	Config   int    `json:"config"`   // version of the configuration file
	Vault    int    `json:"vault"`    // format of a vault
	Evidence string `json:"evidence"` // format of a drill's record
	JSON     int    `json:"json"`     // of what --json prints
}
