package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strings"
	"time"

	"drctl/targets"
)

// Mode is what a plan is run for.
type Mode string

// The modes.
const (
	ModeRestore Mode = "restore" // bring a group back
	ModeDrill   Mode = "drill"   // rehearse it in a sandbox

	ModeSwitchover Mode = "switchover" // leave a region for another, nothing lost
	ModeFailover   Mode = "failover"   // the region is gone
	ModeFailback   Mode = "failback"   // go home again
)

// Modes are all modes.
var Modes = []Mode{ModeRestore, ModeDrill, ModeSwitchover, ModeFailover, ModeFailback}

// Choice is how far a group is recovered when its region is gone.
type Choice string

// The choices.
const (
	Newest Choice = "newest" // each shard as far as it gets
	Proven Choice = "proven" // the whole group at the newest provable moment
)

// The formats of a definition. One that only restores has the first, and the hash
// that it always had.
const (
	DefinitionFormat = 1
	ActionsFormat    = 2
)

// Definition is what people review and verify: which steps a recovery has, in
// which order, with which limits. It holds no times, bases or positions: its hash
// stays the same from day to day, and changes when somebody edits it. A Run binds
// it to what a vault holds.
type Definition struct {
	Format int       `json:"format"`
	Group  string    `json:"group"`
	Mode   Mode      `json:"mode"`
	Into   string    `json:"into"`
	Delta  bool      `json:"delta,omitempty"`
	Steps  []StepDef `json:"steps"`
	// From is the region that is left and To the one that takes over.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
	// Choice says how far a failover goes.
	Choice Choice `json:"choice,omitempty"`
}

// StepDef is one action of a definition.
type StepDef struct {
	ID   string          `json:"id"`
	Do   Op              `json:"do"`
	On   targets.ShardID `json:"on,omitzero"`
	Kind targets.Kind    `json:"kind,omitempty"`
	// Needs are the steps that must have succeeded: their ids, or "restore-orders/*"
	// for all whose ids begin like that.
	Needs []string `json:"needs,omitempty"`
	// Into is empty for a sandbox.
	Into Destination `json:"into,omitzero"`
	// Limit is how long one attempt may take, or how long people may think; 0 sets none.
	Limit time.Duration `json:"limit_ns"`

	// Region is where the step does its work, and Service what it is about when
	// that is no shard.
	Region string `json:"region,omitempty"`
	// Host is the one of that region where it has to be done; "" is any.
	Host    string `json:"host,omitempty"`
	Service string `json:"service,omitempty"`
	With    Args   `json:"with,omitzero"`
	// Modes has a behaviour for each mode in which the step is not simply done.
	Modes   map[Mode]Behaviour `json:"modes,omitempty"`
	Retry   Retry              `json:"retry,omitzero"`
	IfFails Consequence        `json:"if_fails,omitempty"`
	Undo    *Undo              `json:"undo,omitempty"`
	// NoReturn says that nothing can be undone once the step has begun.
	NoReturn bool `json:"no_return,omitempty"`
	// Section names the steps that run in one activity under one lease.
	Section string `json:"section,omitempty"`
	// Reason says why an edited step is as it is; one that is skipped needs it.
	Reason string `json:"reason,omitempty"`
}

// In is what becomes of the step in a mode.
func (s StepDef) In(m Mode) Behaviour {
	if b := s.Modes[m]; b != "run" {
		return b
	}

	return RunIt
}

// Step returns the step of an id.
func (d Definition) Step(id string) (StepDef, bool) {
	for _, s := range d.Steps {
		if s.ID == id {
			return s, true
		}
	}

	return StepDef{}, false
}

// Hash is the SHA-256 of the definition's JSON.
func (d Definition) Hash() string { return sum(d) }

// sum is the SHA-256 of plain data's JSON, in hex.
func sum(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "" // plain data always marshals
	}

	h := sha256.Sum256(b)

	return hex.EncodeToString(h[:])
}

// Means reports whether a need names the step: by its id, or by its beginning
// with a star behind it.
func Means(need, id string) bool {
	if begin, ok := strings.CutSuffix(need, "*"); ok {
		return strings.HasPrefix(id, begin)
	}

	return need == id
}
