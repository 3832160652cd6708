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
)

// DefinitionFormat is the newest format of a definition.
const DefinitionFormat = 1

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
}

// StepDef is one action of a definition.
type StepDef struct {
	ID   string          `json:"id"`
	Do   Op              `json:"do"`
	On   targets.ShardID `json:"on"`
	Kind targets.Kind    `json:"kind"`
	// Needs are the steps that must have succeeded: their ids, or "restore-orders/*"
	// for all whose ids begin like that.
	Needs []string `json:"needs,omitempty"`
	// Into is empty for a sandbox.
	Into  Destination   `json:"into,omitzero"`
	Limit time.Duration `json:"limit_ns"`
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
